"""Frames Labeled In Cinema: `examples.mat`, its observer-centric copy, the raw test joints and the h5 -> samples.

Conventions: samples are 0-based, in the order `FLIC9` (left shoulder, elbow, wrist, right ones, left hip, right hip,
head). `examples` is a 1 x 5003 struct: `coords` 2 x 29, most of it NaN, 1-based; eleven columns are labelled: the six
arm joints, both hips, both eyes and the nose. As the release does, the eyes (9th and 10th) are dropped and the nose
stands for the head.

`examples.mat` and the raw test joints are person-centric. The release scores observer-centric labels: a person whose
right shoulder lies to the right of the left one has all sides exchanged, as in `flic-joints-oc.mat`
(variable `flic_anno`; 48 people of the test set are exchanged). Samples of either kind say which they are.

`center` and `scale` are the release's (`run_benchmark.m`): ((x1 + x2) / 2, 0.7 y1 + 0.3 y2) of the torso box, and
0.0110 of the box's height.

`examples.mat` itself and the h5 were not available: the readers are tested on synthetic files of the documented
layout, and the struct reader on `flic-joints-oc.mat`, which has the same fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.centricity import check_centricity
from cpm_port.annotations.samples import Box, Person, Sample, Split, stack_joints
from cpm_port.errors import DataError
from cpm_port.files.hdf5 import open_hdf5
from cpm_port.files.matlab import field, load_matlab, number, number_array, numeric, require_file, text
from cpm_port.parts import FLIC9, FLIC11, Centricity, from_matlab
from cpm_port.release import FLIC_SCALE_PER_TORSO, flic_center

__all__ = ["LABELLED", "read_flic", "read_flic_h5", "read_flic_raw_test"]

LABELLED = tuple(FLIC11.index(part) for part in FLIC9.parts)  # of the eleven that are not NaN
_OBSERVER_SHARE = 0.0  # the exchange leaves no crossed shoulders
_ORIGIN = "the FLIC data set's page (examples.mat), or MPII's FLIC evaluation (flic-joints-oc.mat)"


def read_flic(path: str | Path, images: str | Path | None = None) -> list[Sample]:
    """Read `examples.mat` (variable `examples`, person-centric) or its observer-centric copy (`flic_anno`).

    Parameters
    ----------
    path : path
        The file.
    images : path, optional
        Folder of the images.

    Returns
    -------
    list of Sample
        All examples in file order; those marked neither for training nor for testing count as validation.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Not a MATLAB file, neither variable, a missing field, or an example without exactly eleven labelled joints.
    """
    path = require_file(path, _ORIGIN)
    variables = load_matlab(path)
    kinds: dict[str, Centricity] = {"examples": "person", "flic_anno": "observer"}
    name = next((name for name in kinds if name in variables), None)
    if name is None:
        raise DataError(
            f"{path}: no variable 'examples' or 'flic_anno'; found {', '.join(sorted(variables)) or 'none'}"
        )
    samples = [
        _example(record, kinds[name], images, f"{path}: {name}({i + 1})")
        for i, record in enumerate(variables[name].ravel())
    ]
    if not samples:
        raise DataError(f"{path}: {name!r} is empty")
    check_centricity(stack_joints(samples).xy, FLIC9, kinds[name], _OBSERVER_SHARE, f"{path}: {name}")
    return samples


def read_flic_raw_test(path: str | Path) -> list[Sample]:
    """Read the raw, person-centric joints of the test set: `joints`, 2 x 12 x N, 1-based.

    The first eleven are the labelled ones as in `examples.mat`; the twelfth is the torso box's width and height.
    Images are not in it.

    Raises
    ------
    MissingFileError, DataError
        As `read_flic`.
    """
    path = require_file(path, _ORIGIN)
    columns = numeric(load_matlab(path), "joints", (2, 12, None), path, bytes_do=False).transpose(2, 1, 0)
    joints, torso = columns[:, list(LABELLED)], columns[:, 11]
    if not np.isfinite(joints).all() or not np.isfinite(torso).all():
        raise DataError(f"{path}: a coordinate is not finite")
    check_centricity(joints, FLIC9, "person", _OBSERVER_SHARE, str(path))
    seen = np.ones(len(FLIC9), dtype=bool)
    return [
        Sample(
            "FLIC",
            f"test{i + 1:04d}",
            None,
            "test",
            FLIC9,
            "person",
            Person(from_matlab(xy), seen, torso_diagonal=float(np.hypot(*torso[i]))),
            named=False,
        )
        for i, xy in enumerate(joints)
    ]


def read_flic_h5(path: str | Path, images: str | Path | None = None, *, split: Split = "test") -> list[Sample]:
    """Read the hourglass code's FLIC annotations: `imgname`, `part` (N, 11, 2) 1-based, `center`, `scale`, `torsobox`.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Which split the file holds; it does not say so itself.

    Raises
    ------
    MissingFileError, DataError
        As `read_flic`.
    """
    path = require_file(path, _ORIGIN)
    with open_hdf5(path) as file:
        part = file.array("part", (None, 11, 2))[:, list(LABELLED)]
        names = file.texts("imgname", len(part))
        center = file.array("center", (len(part), 2))
        scale = file.array("scale", (len(part),))
        boxes = file.array("torsobox", (len(part), 4))
    if not np.isfinite(part).all():
        raise DataError(f"{path}: 'part' holds a coordinate that is not finite")
    seen = np.ones(len(FLIC9), dtype=bool)
    return [
        Sample(
            "FLIC",
            Path(names[i]).stem,
            None if images is None else Path(images) / names[i],
            split,
            FLIC9,
            "person",
            Person(
                from_matlab(part[i]),
                seen,
                center=(float(center[i, 0]) - 1, float(center[i, 1]) - 1),
                scale=float(scale[i]),
                torso_box=_box(boxes[i]),
            ),
        )
        for i in range(len(part))
    ]


def _example(record: Any, centric: Centricity, images: str | Path | None, where: str) -> Sample:
    coords = number_array(field(record, "coords", where), f"{where}: coords")
    if coords.shape != (2, 29):
        raise DataError(f"{where}: 'coords' is {coords.shape}, expected (2, 29)")
    given = coords[:, ~np.isnan(coords).any(axis=0)].T
    if len(given) != 11:
        raise DataError(f"{where}: {len(given)} joints are labelled, expected 11")
    torso = number_array(field(record, "torsobox", where), f"{where}: torsobox").ravel()
    if torso.shape != (4,) or not np.isfinite(torso).all():
        raise DataError(f"{where}: 'torsobox' is not four finite numbers")
    file = text(field(record, "filepath", where), f"{where}: filepath")
    size = number_array(field(record, "imgdims", where), f"{where}: imgdims").ravel()
    if size.size < 2 or not np.isfinite(size).all():
        raise DataError(f"{where}: 'imgdims' has {size.size} numbers, expected height, width, channels")
    train = number(field(record, "istrain", where), f"{where}: istrain") != 0
    test = number(field(record, "istest", where), f"{where}: istest") != 0
    box = _box(torso)
    person = Person(
        from_matlab(given[list(LABELLED)]),
        np.ones(len(FLIC9), dtype=bool),
        center=flic_center(box),
        scale=FLIC_SCALE_PER_TORSO * (box[3] - box[1]),
        torso_box=box,
    )
    return Sample(
        "FLIC",
        Path(file).stem,
        None if images is None else Path(images) / file,
        "test" if test else "train" if train else "validation",
        FLIC9,
        centric,
        person,
        image_size=(int(size[1]), int(size[0])),
    )


def _box(values: NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = (float(v) - 1 for v in values)
    return (x1, y1, x2, y2)
