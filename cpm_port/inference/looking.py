"""Who is looked for: as a user says it (`Wanted`), and what that means for a model (`Looking`).

Where in the flow: between the user's words and `finding.py`. Only the model can tell what was meant where nothing was
said, and how large a box is for its net.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cpm_port.annotations.boxes import read_boxes
from cpm_port.errors import UsageError
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.people import BoxesByName, GivenBoxes, PersonFinder
from cpm_port.inference.whereabouts import Whereabouts

__all__ = ["Box", "Looking", "PeopleChoice", "Wanted"]

Box = tuple[float, float, float, float]
PeopleChoice = Literal["one", "all"] | PersonFinder | BoxesByName


@dataclass(frozen=True)
class Looking:
    """Who is looked for, by a model that is there.

    Attributes
    ----------
    where : Whereabouts
        Of one person; of several, how: mode and multipliers.
    people : {"one", "all"}, PersonFinder or BoxesByName
        One person, everybody whom the net itself finds, or whomever a finder finds, or a file of boxes names. A
        `Notebook` goes its own way.

    Examples
    --------
    >>> from cpm_port.inference.looking import Looking
    >>> Looking(people="all").people
    'all'
    """

    where: Whereabouts = field(default_factory=Whereabouts)
    people: PeopleChoice = "one"


@dataclass(frozen=True)
class Wanted:
    """Who is looked for, as a user says it.

    Attributes
    ----------
    where : Whereabouts
        Where the person is, and at which scales to look.
    people : {"one", "all", "notebook"}, PersonFinder or None
        One person; everybody; everybody as the release's notebook finds them; whomever a finder finds. None: everybody
        with the default model, which was made for that, and one person with others or where a place is given.
    boxes : tuple of (x, y, width, height), or None
        Where the people are in every picture, image px, instead of looking for them.
    box_file : Path or None
        A file that says so picture by picture (`cpm_port.annotations.boxes`).

    Raises
    ------
    UsageError
        Of these, two contradict each other.

    Examples
    --------
    >>> from cpm_port.inference.looking import Wanted
    >>> Wanted(boxes=((60.0, 40.0, 120.0, 300.0),)).boxed, Wanted(people="all").boxed
    (True, False)
    """

    where: Whereabouts = field(default_factory=Whereabouts)
    people: PeopleChoice | Literal["notebook"] | None = None
    boxes: tuple[Box, ...] | None = None
    box_file: Path | None = None

    def __post_init__(self) -> None:
        if self.boxed and (self.where.given or (self.boxes is not None and self.box_file is not None)):
            raise UsageError("give --boxes, or --box for each person, or one --center, not several of these")
        if self.people is not None and self.boxed:
            raise UsageError("give people or boxes, not both: boxes say who is there")
        if self.people == "all" and self.where.given:
            raise UsageError("--people all finds the people itself: no --box and no --center")
        if self.people == "notebook" and self.where != Whereabouts():
            raise UsageError(
                "--people notebook finds the people itself, at its own scale: no other place, scales or mode"
            )

    @property
    def boxed(self) -> bool:
        """Whether boxes say who is there."""
        return self.boxes is not None or self.box_file is not None

    def with_model(self, model: ReadyNet) -> Looking:
        """Return what is meant, with this model.

        Raises
        ------
        MissingFileError, DataError
            As of `read_boxes`.
        UsageError
            "notebook", which takes two nets (`cpm_port.inference.notebook`); or a box without a width or a height.
        """
        if self.box_file is not None:
            return Looking(self.where, BoxesByName(read_boxes(self.box_file), model.interface.box_size))
        if self.boxes is not None:
            return Looking(self.where, GivenBoxes(self.boxes, model.interface.box_size))
        if self.people == "notebook":
            raise UsageError("people 'notebook': it takes two nets; give a cpm_port.inference.notebook.Notebook")
        if self.people is not None:
            return Looking(self.where, self.people)
        return Looking(self.where, "all" if model.searches and not self.where.given else "one")
