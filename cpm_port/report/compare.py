"""Where a net's blobs differ from reference blobs: a row per blob, and the first layer that diverges.

The reference is a mapping from blob names to arrays, as dumped from any framework; inputs may lie in the same file.
Keys may carry the prefix `blob/` or `in/`. A blob changed in place is compared by its last content, as Caffe shows it.

Conventions: `relative` is the largest absolute difference divided by the reference's largest absolute value, the
measure that the tolerance holds; `cosine` is of the two arrays as vectors, in float64. A NaN equals a NaN, an infinity
itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.files.npz import read_npz
from cpm_port.graph import CaffeNet
from cpm_port.report.table import table

__all__ = ["BlobRow", "Comparison", "compare", "compare_text", "forward_arrays", "read_arrays"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class BlobRow:
    """One blob: how far it is from its reference.

    Attributes
    ----------
    blob : str
    layers : tuple of str
        The layers that write it, in order.
    shape : tuple of int
        As the net gives it.
    max_abs, relative, cosine : float or None
        None where there is nothing to compare.
    problem : str
        Why there is nothing to compare, or empty.
    within : bool
        Whether it holds the tolerance; True for a blob without a reference.
    """

    blob: str
    layers: tuple[str, ...]
    shape: tuple[int, ...]
    max_abs: float | None
    relative: float | None
    cosine: float | None
    problem: str
    within: bool


@dataclass(frozen=True)
class Comparison:
    """All rows in the order in which the net computes its blobs, and the reference's names that the net lacks."""

    rows: tuple[BlobRow, ...]
    strangers: tuple[str, ...]
    tolerance: float

    @property
    def first(self) -> BlobRow | None:
        """The first blob that diverges."""
        return next((row for row in self.rows if not row.within), None)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read an .npz; the prefixes `in/` and `blob/` are taken off.

    Raises
    ------
    MissingFileError, DataError
        The file is absent, no .npz of plain arrays, or two of its keys name one blob.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for key, array in read_npz(path).items():
        name = key.removeprefix("in/").removeprefix("blob/")
        if name in arrays:
            raise DataError(f"{os.fspath(path)}: two arrays for blob {name!r}")
        arrays[name] = array
    return arrays


def forward_arrays(net: CaffeNet, arrays: Arrays, blobs: list[str], source: str) -> dict[str, NDArray[np.float32]]:
    """Run the net on the inputs among `arrays`; return its outputs and `blobs`, with the batch as given.

    Raises
    ------
    UsageError
        An input is missing.
    DataError
        An input does not hold numbers.
    """
    missing = [name for name in net.inputs if name not in arrays]
    if missing:
        raise UsageError(f"{source}: no arrays for the net's inputs {', '.join(missing)}; it has {', '.join(arrays)}")
    inputs = {}
    for name in net.inputs:
        if arrays[name].dtype.kind not in "fiu":
            raise DataError(f"{source}: input {name!r} holds {arrays[name].dtype}; expected numbers")
        inputs[name] = np.ascontiguousarray(arrays[name], dtype=np.float32)
    with torch.inference_mode():
        return {name: blob.cpu().numpy() for name, blob in net(inputs, blobs=blobs).items()}


def compare(
    net: CaffeNet, reference: Arrays, inputs: Arrays, *, tolerance: float = 1e-5, source: str = "the reference"
) -> Comparison:
    """Run the net on `inputs` and compare every blob with `reference`.

    Raises
    ------
    UsageError
        An input is missing, or the reference has no blob of this net but its inputs.
    """
    writers: dict[str, tuple[str, ...]] = {}
    for layer in net.layers:
        for top in layer.tops:
            earlier = writers.pop(top, ())  # a blob changed in place counts where it is written last
            writers[top] = (*earlier, layer.name)
    wanted = [name for name in writers if name in reference and name not in net.inputs]
    if not wanted:
        names = ", ".join(reference)
        raise UsageError(f"{source}: none of its arrays ({names}) is a blob that {net.spec.source} computes")
    found = forward_arrays(net, inputs, wanted, source)
    rows = [
        _row(name, layers, found[name], reference.get(name), tolerance)
        for name, layers in writers.items()
        if name in found
    ]
    strangers = tuple(name for name in reference if name not in writers)
    return Comparison(tuple(rows), strangers, tolerance)


def _row(
    blob: str, layers: tuple[str, ...], found: NDArray[Any], reference: NDArray[Any] | None, tolerance: float
) -> BlobRow:
    problem = ""
    if reference is None:
        return BlobRow(blob, layers, found.shape, None, None, None, "no reference", True)
    if reference.dtype.kind not in "fiu":
        problem = f"reference holds {reference.dtype}"
    elif reference.shape != found.shape:
        problem = f"reference is {'x'.join(map(str, reference.shape))}"
    if problem:
        return BlobRow(blob, layers, found.shape, None, None, None, problem, False)
    ours, theirs = found.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(ours - theirs))
    difference[np.isnan(difference)] = np.inf
    max_abs = float(difference.max(initial=0.0))
    finite = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[finite], theirs[finite]
    scale = float(np.abs(theirs).max(initial=0.0))
    relative = max_abs / scale if scale else (0.0 if max_abs == 0 else float("inf"))
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    cosine = float(ours @ theirs) / norms if norms else float(max_abs == 0)
    return BlobRow(blob, layers, found.shape, max_abs, relative, cosine, "", relative <= tolerance)


def compare_text(comparison: Comparison) -> str:
    """Return the table, what could not be compared, and the verdict."""
    rows = [["blob", "written by", "shape", "max abs", "relative", "cosine", ""]]
    for row in comparison.rows:
        numbers = ["", "", ""]
        if row.max_abs is not None:
            numbers = [f"{row.max_abs:.2e}", f"{row.relative:.2e}", f"{row.cosine:.9f}"]
        verdict = row.problem or ("" if row.within else "DIFFERS")
        shape = "x".join(map(str, row.shape)) or "one value"
        rows.append([row.blob, ", ".join(row.layers), shape, *numbers, verdict])
    lines = table(rows, right=(3, 4, 5))
    if comparison.strangers:
        lines += ["", f"in the reference, not in this net: {', '.join(comparison.strangers)}"]
    compared = [row for row in comparison.rows if row.problem != "no reference"]
    first = comparison.first
    if first is None:
        lines += ["", f"{len(compared)} blobs agree within {comparison.tolerance:g} (relative)"]
    else:
        count = sum(not row.within for row in compared)
        lines += [
            "",
            f"{count} of {len(compared)} blobs differ by more than {comparison.tolerance:g} (relative)",
            f"first to diverge: blob {first.blob!r}, written by {', '.join(first.layers)}",
        ]
    return "\n".join(lines)
