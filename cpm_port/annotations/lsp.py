"""Leeds Sports Poses and its extended training set: `joints.mat` -> samples.

Conventions: `joints` of LSP is 3 x 14 x N (x, y, hidden), of LSPET 14 x 3 x N (x, y, labelled), both 1-based MATLAB
pixels in the order `LSP14`; samples are 0-based. LSP's 2000 images are im0001.jpg to im2000.jpg, the first half for
training; LSPET's are im00001.jpg on, all for training. A LSP file of another number of images is taken as one test
set.

The third row means different things: LSP marks 1 where a joint is *hidden* (its coordinate counts all the same), LSPET
marks 1 where it is *labelled* and fills the rest with coordinates that mean nothing; those become NaN.

Neither set says where a person is: `center` and `scale` stay None (testing takes the image's centre and height).

Source: the data sets' own README files; the two label files that circulate as `lsp-joints-PC.mat` and
`lsp-joints-OC.mat` (MPII's LSP evaluation toolkit) differ in centricity only, which `read_lsp` checks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.centricity import check_centricity
from cpm_port.annotations.samples import Person, Sample, Split
from cpm_port.errors import DataError
from cpm_port.files.matlab import load_matlab, numeric, require_file
from cpm_port.parts import LSP14, Centricity, from_matlab

__all__ = ["OBSERVER_SHARE", "read_lsp", "read_lspet"]

OBSERVER_SHARE = 0.2  # between the 7.4 % and the 33.2 % of centricity.py
_IMAGES = 2000
_ORIGIN_LSP = (
    "the LSP data set's page (joints.mat) or MPII's LSP evaluation toolkit (lsp-joints-PC.mat, lsp-joints-OC.mat)"
)
_ORIGIN_LSPET = "the LSP extended training set's page (joints.mat)"


def read_lsp(path: str | Path, images: str | Path | None = None, *, centric: Centricity = "person") -> list[Sample]:
    """Read LSP's labels.

    Parameters
    ----------
    path : path
        A `joints` file, 3 x 14 x N.
    images : path, optional
        Folder of the images; None leaves the samples without any.
    centric : {"person", "observer"}
        Which labels the file holds; checked where it has enough people.

    Returns
    -------
    list of Sample
        N samples in file order. N = 2000: the first 1000 are for training; any other N: all are for testing.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Not a MATLAB file, no `joints` of that shape, values that are not finite, or the other centricity.
    """
    path = require_file(path, _ORIGIN_LSP)
    joints = numeric(load_matlab(path), "joints", (3, len(LSP14), None), path, bytes_do=False).transpose(2, 1, 0)
    _require_finite(joints, path)
    xy = from_matlab(joints[..., :2])
    check_centricity(xy, LSP14, centric, OBSERVER_SHARE, str(path))
    hidden = joints[..., 2] != 0
    first_test = _IMAGES // 2 if len(xy) == _IMAGES else 0
    return [
        _sample("LSP", f"im{i + 1:04d}", images, "train" if i < first_test else "test", xy[i], ~hidden[i], centric)
        for i in range(len(xy))
    ]


def read_lspet(path: str | Path, images: str | Path | None = None) -> list[Sample]:
    """Read the extended set's labels: N training samples, person-centric.

    Parameters
    ----------
    path : path
        A `joints` file, 14 x 3 x N.
    images : path, optional
        Folder of the images.

    Raises
    ------
    MissingFileError, DataError
        As `read_lsp`.
    """
    path = require_file(path, _ORIGIN_LSPET)
    joints = numeric(load_matlab(path), "joints", (len(LSP14), 3, None), path, bytes_do=False).transpose(2, 0, 1)
    _require_finite(joints, path)
    labelled = joints[..., 2] != 0
    xy = from_matlab(joints[..., :2])
    xy[~labelled] = np.nan
    return [
        _sample("LSPET", f"im{i + 1:05d}", images, "train", xy[i], labelled[i], "person") for i in range(len(joints))
    ]


def _require_finite(joints: NDArray[np.float64], path: Path) -> None:
    bad = np.argwhere(~np.isfinite(joints).all(axis=2))
    if len(bad):
        image, part = bad[0]
        raise DataError(f"{path}: image {image + 1}, {LSP14.parts[part]}: coordinate is not finite ({len(bad)} such)")


def _sample(
    dataset: str,
    name: str,
    images: str | Path | None,
    split: Split,
    xy: NDArray[np.float64],
    visible: NDArray[np.bool_],
    centric: Centricity,
) -> Sample:
    image = None if images is None else Path(images) / f"{name}.jpg"
    number = int(name.removeprefix("im"))
    return Sample(dataset, name, image, split, LSP14, centric, Person(xy, visible), annolist_index=number)
