"""Which images and videos are predicted, and what their results are called.

Where in the flow: before the model is loaded; nothing is read or written yet.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpm_port.errors import UsageError
from cpm_port.imaging.reading import IMAGE_SUFFIXES
from cpm_port.imaging.video import VIDEO_SUFFIXES, written_encoder

__all__ = ["Target", "list_files", "name_results", "refuse_to_overwrite", "remarks"]


@dataclass(frozen=True)
class Target:
    """A file and where its results go.

    Attributes
    ----------
    path : Path
        Of the image or video.
    stem : Path
        Of the results, without their suffixes.
    namesake : Path or None
        The earlier file that had taken this one's own stem.
    """

    path: Path
    stem: Path
    namesake: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def json(self) -> Path:
        """The joints."""
        return self._result(".json")

    @property
    def joints(self) -> Path:
        """The limbs over the image, or over every frame."""
        return self._result(f"_joints{written_encoder().suffix}" if self.is_video else "_joints.png")

    @property
    def maps(self) -> Path:
        """The belief maps of an image."""
        return self._result("_maps.png")

    def results(self) -> Iterator[Path]:
        """Yield every file that will be written."""
        yield from (self.json, self.joints)
        if not self.is_video:
            yield self.maps

    def _result(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)


def list_files(arguments: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Return the files to read: the named ones, and of folders those with an image's or video's suffix, by name.

    Returns
    -------
    files : list of Path
    passed_over : list of Path
        What else is in the folders: files that are neither, and folders, which are not entered. Not hidden ones.

    Raises
    ------
    UsageError
        A folder holds no image and no video; or an address or a camera's number is given instead of a file.
    """
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files: list[Path] = []
    passed_over: list[Path] = []
    for given in arguments:
        argument = Path(given)
        if not argument.exists():
            _refuse_what_is_no_file(str(given))
        if not argument.is_dir():
            files.append(argument)
            continue
        inside = sorted(path for path in argument.iterdir() if path.is_file() or path.is_dir())
        found = [path for path in inside if path.is_file() and path.suffix.lower() in known]
        if not found:
            folders = [path for path in inside if path.is_dir()]
            inner = f"; {_unentered(argument, len(folders))}" if folders else ""
            raise UsageError(
                f"{argument}: no image or video in this folder; known are {', '.join(sorted(known))}{inner}"
            )
        files += found
        passed_over += [path for path in inside if path not in found and not path.name.startswith(".")]
    return files, passed_over


def remarks(passed_over: Sequence[Path]) -> Iterator[str]:
    """Say of what `list_files` passed over why, and how folders are included."""
    for path in passed_over:
        if not path.is_dir():
            yield f"{path}: not taken, its suffix is no image's or video's"
    for folder, count in Counter(path.parent for path in passed_over if path.is_dir()).items():
        yield f"{folder}: {_unentered(folder, count)}"


def _unentered(folder: Path, count: int) -> str:
    folders = "folder" if count == 1 else f"{count} folders"
    return f"the {folders} in it {'is' if count == 1 else 'are'} not entered: give {folder}/*/ too"


def _refuse_what_is_no_file(text: str) -> None:
    """Say what to do instead, where an address or a camera's number is given."""
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        raise UsageError(f"{text}: addresses are not opened, for nothing is fetched unasked: save it as a file first")
    if text.isdecimal():
        raise UsageError(
            f"{text}: no such file; a camera is opened by itself, or from Python: cpm_port.load_model().stream({text})"
        )


def name_results(files: Sequence[Path], out: Path) -> list[Target]:
    """Give every file its own stem in `out`; files whose stems coincide get a number."""
    stems = {file.stem.casefold() for file in files}
    taken: dict[str, Path] = {}
    targets = []
    for file in files:
        stem, number = file.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in stems):
            number += 1
            stem = f"{file.stem}-{number}"
        namesake = taken[file.stem.casefold()] if number > 1 else None
        taken[stem.casefold()] = file
        targets.append(Target(file, out / stem, namesake))
    return targets


def refuse_to_overwrite(targets: Sequence[Target]) -> None:
    """Raise a UsageError where a result would overwrite one of the files."""
    sources = {target.path.resolve() for target in targets}
    for target in targets:
        for result in target.results():
            if result.resolve() in sources:
                raise UsageError(f"{target.path}: its result {result} would overwrite an input; choose another --out")
