"""The release's `genJSON.m` layout -> samples: the annotations that its training LMDBs are made from.

Conventions: coordinates are 1-based in the file and 0-based here. `joint_self` is a list of `[x, y, visible]`; MPI,
LEEDS and LSPET come with 16 joints in MPII's order (LSP's 14 moved there, with (0, 0, 0) for pelvis and thorax), FLIC
with 9. DRAWN is ours: drawn people, stored as LSP is.

Your own data, with your own parts: the file is an object that has the parts' names beside the list of records,
`{"parts": ["head", "left_wrist", "right_wrist"], "root": [...]}`. Then every record may name any data set and has these
joints, in this order, person-centric; parts whose names differ in their side (`left_...` and `right_...`) are each
other's mirror image, and so are those that `"flip_pairs": [["paw", "other_paw"]]` names; `"skeleton"`, pairs as well,
says which parts a drawing joins. The release's reader looks at "root" alone.

Quirks of the layout (JSONLab wrote it), all undone here:

- every number is a float, indices and flags too (`1.000`);
- with several other people `joint_others` is a list of lists of joints, with one it is one list of joints, with none
  the object `{"_ArrayType_": "double", "_ArraySize_": [0, 0], "_ArrayData_": null}` (or `[]`); `scale_provided_other`
  and `objpos_other` lose their outer list in the same way;
- a joint that is not annotated is `[0, 0, 0]`, becoming (-1, -1) in training; here NaN;
- NaN is the string "_NaN_"; the list may sit under the key "root";
- FLIC's labels are observer-centric as the release writes them; MPI and the LSP sets are person-centric.

The image names have no folder in the release; where they have one, it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError
from cpm_port.files.json_text import read_json
from cpm_port.files.matlab import require_file
from cpm_port.parts import BACKGROUND, FLIC9, MPII16, Centricity, PartOrder, from_matlab

__all__ = [
    "DATASETS",
    "OWN_ORDER",
    "check_part_names",
    "own_order",
    "read_beside",
    "read_genjson",
    "read_held_out_own",
    "samples_of",
]

DATASETS: dict[str, tuple[PartOrder, Centricity]] = {
    "MPI": (MPII16, "person"),
    "LEEDS": (MPII16, "person"),
    "LSPET": (MPII16, "person"),
    "FLIC": (FLIC9, "observer"),
    "DRAWN": (MPII16, "person"),
}
OWN_ORDER = "own"
"""Name of the part order of a file that lists its parts' names."""

_ORIGIN = "`cpm-port records json`, which writes such files, or the release's page, which offers some"
_FIELDS = (
    "dataset", "isValidation", "img_paths", "img_width", "img_height", "objpos", "joint_self", "scale_provided",
    "joint_others", "scale_provided_other", "objpos_other", "annolist_index", "people_index", "numOtherPeople",
)  # fmt: skip


def read_genjson(path: str | Path, images: str | Path | None = None) -> list[Sample]:
    """Read one annotation file of the release's training code.

    Parameters
    ----------
    path : path
        The JSON file.
    images : path, optional
        Folder of the images.

    Returns
    -------
    list of Sample
        In file order; `split` is "validation" where `isValidation` is set, else "train".

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Not JSON, not a list of records, a field missing, a data set that is not known where the file names no parts of
        its own, or counts that contradict each other. The message gives the record's number.
    """
    path = require_file(path, _ORIGIN)
    return samples_of(read_json(path), images, str(path))


def samples_of(content: Any, images: str | Path | None, where: str) -> list[Sample]:
    """Return the samples of a file's parsed content, as `read_genjson`; `where` opens the messages."""
    own = None
    if isinstance(content, dict) and "root" in content:
        own = own_order(content, where)
        content = content["root"]
    if not isinstance(content, list) or not content:
        found = "an empty list" if content == [] else type(content).__name__
        raise DataError(f"{where}: expected a list of records, or an object with one under 'root', found {found}")
    return [_sample(record, own, images, f"{where}: record {i + 1}") for i, record in enumerate(content)]


def read_beside(path: str | Path) -> list[Sample]:
    """Read an annotation file whose images lie beside it, or in `images/` beside it; errors as of `read_genjson`."""
    folder = Path(path).parent
    return [_located(sample, folder) for sample in read_genjson(path, folder)]


def read_held_out_own(path: str | Path) -> list[Sample]:
    """Return the people of a file with parts of its own who are marked as validation, or all where nobody is.

    Raises
    ------
    DataError
        The file does not name its parts; or as of `read_genjson`.
    """
    samples = read_beside(path)
    if samples[0].order.name != OWN_ORDER:
        raise DataError(f"{path}: its parts are {samples[0].order.name}'s; expected a file that names its own")
    return [sample for sample in samples if sample.split == "validation"] or samples


def _located(sample: Sample, folder: Path) -> Sample:
    """Return the sample with its image in `images/`, where it is there and not in the folder itself."""
    if sample.image is None or sample.image.is_file() or not sample.image.is_relative_to(folder):
        return sample
    other = folder / "images" / sample.image.relative_to(folder)
    return replace(sample, image=other) if other.is_file() else sample


def own_order(content: Mapping[str, Any], where: str) -> PartOrder | None:
    """Return the order that an object's "parts", "flip_pairs" and "skeleton" give; None where it names no parts.

    Raises
    ------
    DataError
        No list of names, a name twice, one that cannot be a part's, or pairs of other names; `where` opens the message.
    """
    names = content.get("parts")
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: parts: expected a list of names, found {names!r:.80}")
    if len(set(names)) < len(names):
        raise DataError(f"{where}: parts: the same name twice in {', '.join(names)}")
    check_part_names(names, where)
    limbs, pairs = (_pairs(content.get(kind, []), names, f"{where}: {kind}") for kind in ("skeleton", "flip_pairs"))
    paired = [name for pair in pairs for name in pair]
    if len(set(paired)) < len(paired):
        raise DataError(f"{where}: flip_pairs: the same part twice in {', '.join(paired)}")
    return PartOrder(OWN_ORDER, tuple(names), limbs, pairs=pairs)


def check_part_names(names: Sequence[str], where: str) -> None:
    """Refuse names that would be mistaken for something else, in a model's files or on a command line.

    Raises
    ------
    DataError
        A part is called "background", as the map that every net has beside its parts'; or its name holds a comma or a
        control character, or begins or ends with a space. `where` opens the message.
    """
    for name in names:
        if name == BACKGROUND:
            raise DataError(f"{where}: a part is called {name!r}, which is the map of no part; give it another name")
        if name != name.strip() or "," in name or not name.isprintable():
            raise DataError(
                f"{where}: a part is called {name!r}; expected a name without commas, line breaks, spaces at its ends"
            )


def _pairs(value: Any, names: Sequence[str], where: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of two parts each."""
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list of pairs of parts, found {value!r:.80}")
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not set(map(str, pair)) <= set(names) or pair[0] == pair[1]:
            raise DataError(f"{where}: expected two of the parts, found {pair!r:.80}")
    return tuple((str(a), str(b)) for a, b in value)


def _sample(record: Any, own: PartOrder | None, images: str | Path | None, where: str) -> Sample:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object, found {type(record).__name__}")
    missing = [name for name in _FIELDS if name not in record]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}")

    def numbers(name: str, *shape: int) -> NDArray[np.float64]:
        return _numbers(record[name], shape, f"{where}: {name}")

    dataset = record["dataset"]
    if not isinstance(dataset, str) or not isinstance(record["img_paths"], str):
        raise DataError(f"{where}: dataset {dataset!r}, img_paths {record['img_paths']!r}; expected two names")
    if own is None and dataset not in DATASETS:
        raise DataError(
            f"{where}: data set {dataset!r}; expected one of {', '.join(DATASETS)}, or its parts' names "
            'beside the records: {"parts": [...], "root": [...]}'
        )
    order, centric = DATASETS[dataset] if own is None else (own, "person")
    parts, count = len(order), int(numbers("numOtherPeople"))
    if count < 0 or count != numbers("numOtherPeople"):
        raise DataError(f"{where}: numOtherPeople is {record['numOtherPeople']}; expected 0, 1, 2, ...")
    joints, places, scales = (
        numbers("joint_others", count, parts, 3),
        numbers("objpos_other", count, 2),
        numbers("scale_provided_other", count),
    )
    others = tuple(_person(joints[k], places[k], float(scales[k]), f"{where}: other {k + 1}") for k in range(count))
    name, people_index = record["img_paths"], int(numbers("people_index"))
    return Sample(
        dataset,
        f"{name.removesuffix(PurePath(name).suffix)}_{people_index}",
        None if images is None else Path(images) / name,
        "validation" if numbers("isValidation") != 0 else "train",
        order,
        centric,
        _person(numbers("joint_self", parts, 3), numbers("objpos", 2), float(numbers("scale_provided")), where),
        others,
        image_size=(int(numbers("img_width")), int(numbers("img_height"))),
        annolist_index=int(numbers("annolist_index")),
        people_index=people_index,
    )


def _person(joints: NDArray[np.float64], place: NDArray[np.float64], scale: float, where: str) -> Person:
    absent = (joints[:, :2] == 0).all(axis=1)
    if (absent & (joints[:, 2] != 0)).any():
        raise DataError(f"{where}: a joint at (0, 0) is marked visible")
    xy = from_matlab(joints[:, :2])
    xy[absent] = np.nan
    return Person(xy, joints[:, 2] != 0, (float(place[0]) - 1, float(place[1]) - 1), scale)


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Return nested lists as an array, with JSONLab's collapsed axes of one restored."""
    try:
        array = np.asarray(_plain(value), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: not an array of numbers ({error})") from error
    if array.size == int(np.prod(shape)) and (array.ndim == len(shape) or array.size == 0 or shape[:1] == (1,)):
        array = array.reshape(shape)
    if array.shape != shape:
        raise DataError(f"{where}: shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{where}: a value is not finite")
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict) and 0 in value.get("_ArraySize_", ()):
        return []
    return float("nan") if value == "_NaN_" else value
