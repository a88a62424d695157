"""The models that the page can choose: the one that was asked for, the default one, and those that are installed.

They are loaded on the worker's thread when they are first asked for, and at most a few stay loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from cpm_port.caffe import read_net
from cpm_port.errors import CpmPortError
from cpm_port.inference.model import Engine, ReadyNet, ready_net
from cpm_port.models.interface import image_input
from cpm_port.release import MPII_PERSON_HEIGHT, target_dist
from cpm_port.zoo import ENTRIES, Choice, resolve

__all__ = ["Offer", "Offers", "offered"]


@dataclass(frozen=True)
class Offer:
    """A model that can be chosen.

    Attributes
    ----------
    name : str
        Of the zoo, or the weights' file.
    title : str
        What it is, in words.
    choice : Choice
    box_size : int
        Side of its input, px.
    """

    name: str
    title: str
    choice: Choice
    box_size: int

    def to_json(self) -> dict[str, Any]:
        """Return name, title, box size, and how tall a person is, px, whom the model looks at without scaling."""
        height = MPII_PERSON_HEIGHT * target_dist(self.box_size)
        return {"name": self.name, "title": self.title, "box_size": self.box_size, "height_at_scale_1": height}


def offered(first: Choice) -> list[Offer]:
    """Return the models that are here, the chosen one first; those that look for joints in a square box.

    Raises
    ------
    UsageError, CaffeFormatError, MissingFileError
        The chosen files are no pose net, or cannot be read.
    """
    found = []
    if first.entry is None:
        net = read_net(first.net, **first.state._asdict())
        found.append(Offer(first.weights.name, "your own files", first, image_input(net)[1][2]))
    for entry in ENTRIES.values():
        if entry.box[0] != entry.box[1]:
            continue
        try:
            choice = resolve(entry.name)
        except CpmPortError:  # it is not installed, or broken: `cpm-port models` tells
            continue
        found.append(Offer(entry.name, entry.title, choice, entry.box[0]))
    return sorted(found, key=lambda offer: offer.choice.weights != first.weights)


class Offers:
    """The models of a server, by name.

    Parameters
    ----------
    offers : list of Offer
        The first is the page's choice.
    engine : Engine
        How nets run.
    most : int
        How many stay loaded.
    """

    def __init__(self, offers: list[Offer], engine: Engine, most: int) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._engine, self._most = engine, most
        self._loaded: OrderedDict[str, ReadyNet] = OrderedDict()

    def __iter__(self) -> Any:
        return iter(self._offers.values())

    def __contains__(self, name: object) -> bool:
        return name in self._offers

    def is_loaded(self, name: str) -> bool:
        """Whether a model need not be loaded any more."""
        return name in self._loaded

    def load(self, name: str) -> ReadyNet:
        """Return a model, loaded; for the worker's thread. Errors as of `cpm_port.inference.model.ready_net`."""
        model = self._loaded.pop(name, None) or ready_net(self._offers[name].choice, self._engine)
        self._loaded[name] = model
        while len(self._loaded) > self._most:
            self._loaded.popitem(last=False)
        return model
