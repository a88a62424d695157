"""What a whole run writes besides every picture's own files: other people's formats, and a contact sheet.

Where in the flow: beside `results.py`, fed with one result after another. Of a picture only numbers and a thumbnail are
kept; the files of the whole run appear at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cpm_port.errors import UsageError
from cpm_port.imaging.writing import write_png
from cpm_port.inference.results import Result
from cpm_port.inference.targets import Target
from cpm_port.parts import PartOrder
from cpm_port.predictions.people_files import PEOPLE_FORMATS, PersonRow, parts_left_out, write_people
from cpm_port.report.drawing import Picture, contact_sheet, thumbnail

__all__ = ["FORMATS", "SHEET", "RunOutput"]

FORMATS = ("json", "openpose", *PEOPLE_FORMATS)
SHEET = "contact_sheet.png"


class RunOutput:
    """Gathers a run's results.

    Parameters
    ----------
    out : Path
        The folder of the results.
    formats : sequence of str
        Of `FORMATS`; "json" is each picture's own affair.
    sheet : bool
        Whether to write a contact sheet.
    min_score : float
        Joints of a lower score are not drawn.

    Attributes
    ----------
    images, people, empty : int
        How many images there were, how many people in them, and how many images without anybody.
    """

    def __init__(self, out: Path, formats: Sequence[str], *, sheet: bool = False, min_score: float = 0.0) -> None:
        self._out, self._sheet, self._min_score = out, sheet, min_score
        self._formats = [form for form in formats if form != "json"]
        self._rows: dict[str, list[PersonRow]] = {}
        self._thumbnails: list[tuple[str, Picture]] = []
        self.images = self.people = self.empty = 0

    def refuse_to_overwrite(self, targets: Sequence[Target]) -> None:
        """Raise a UsageError where a file of the run would overwrite an input."""
        written = {(self._out / name).resolve() for name in (SHEET, *PEOPLE_FORMATS.values())}
        for target in targets:
            if target.path.resolve() in written:
                raise UsageError(f"{target.path}: a result would overwrite it; choose another --out")

    def remarks(self, order: PartOrder) -> list[str]:
        """Return, of a net's parts, which ones a format leaves out; UsageError where it has a place for none."""
        found = {form: parts_left_out(form, order) for form in self._formats}
        return [
            f"--format {form}: {', '.join(parts)} left out: the format has no such part"
            for form, parts in found.items()
            if parts
        ]

    def add(self, target: Target, result: Result, person_score: float = 0.0) -> None:
        """Take in a picture's result; OpenPose's file of it is written now.

        People of a lower mean score than `person_score` are written, but not counted.
        """
        there = sum(person.score >= person_score for person in result)
        self.images += 1
        self.people += there
        self.empty += not there
        if "openpose" in self._formats:
            write_people("openpose", self._out, {result.name: result.rows()}, {result.name: target.stem})
        if any(form in PEOPLE_FORMATS for form in self._formats):
            self._rows[result.name] = result.rows()
        if self._sheet:
            self._thumbnails.append((target.stem.name, thumbnail(result.draw(self._min_score))))

    def end(self) -> list[Path]:
        """Write the files of the whole run; return them. The release's comes last: who was found may not fit it."""
        written = []
        if self._thumbnails:
            write_png(self._out / SHEET, contact_sheet(self._thumbnails))
            written.append(self._out / SHEET)
        for form in sorted(self._formats, key=lambda form: form == "release-mat"):
            if form in PEOPLE_FORMATS:
                written += write_people(form, self._out, self._rows)
        return written
