"""Ground truth as scoring needs it: the samples of one data set's split, stacked.

SAMPLES -> METRICS. Which file of which data set gives them is `read_truth`'s business; which normalizer is made of
them, a protocol's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.data.flic import read_flic, read_flic_h5, read_flic_raw_test
from cpm_port.data.lsp import read_lsp
from cpm_port.data.mpii import read_mpii, read_mpii_detections, read_mpii_hourglass, read_mpii_validation
from cpm_port.data.samples import Sample, stack_joints
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import Centricity, Joints

__all__ = ["DATASETS", "Truth", "read_truth"]

DATASETS = ("LSP", "FLIC", "MPI")


@dataclass(frozen=True, eq=False)
class Truth:
    """Annotations of N people.

    Attributes
    ----------
    joints : Joints
        (N, P, 2), 0-based; NaN where not annotated.
    head_size : ndarray, shape (N,), or None
        0.6 times the head box's diagonal, px.
    torso_diagonal : ndarray, shape (N,), or None
        Diagonal of the torso box, px.
    names : tuple of str
        Names of the samples.
    images : tuple of Path or None
        Image files, where the source names them.
    source : str
        Where they came from, for messages.
    """

    joints: Joints
    head_size: NDArray[np.float64] | None
    torso_diagonal: NDArray[np.float64] | None
    names: tuple[str, ...]
    images: tuple[Path | None, ...]
    source: str

    @classmethod
    def of(cls, samples: Sequence[Sample], source: str) -> Truth:
        """Stack samples; a length that some sample lacks is None for all."""
        people = [sample.person for sample in samples]
        heads = [person.head_size for person in people]
        boxes = [person.torso_box for person in people]
        diagonals = [None if box is None else float(np.hypot(box[2] - box[0], box[3] - box[1])) for box in boxes]
        return cls(
            stack_joints(samples),
            _lengths(heads),
            _lengths(diagonals),
            tuple(sample.name for sample in samples),
            tuple(sample.image for sample in samples),
            source,
        )

    def __len__(self) -> int:
        return len(self.joints)

    def first(self, count: int) -> Truth:
        """Return the first `count` people."""
        return Truth(
            Joints(self.joints.xy[:count], self.joints.convention),
            None if self.head_size is None else self.head_size[:count],
            None if self.torso_diagonal is None else self.torso_diagonal[:count],
            self.names[:count],
            self.images[:count],
            self.source,
        )


def read_truth(
    dataset: str, path: str | Path, *, images: str | Path | None = None, centric: Centricity = "person"
) -> Truth:
    """Read the ground truth of a data set's scored split (LSP and FLIC: test; MPII: validation) from any known file.

    Parameters
    ----------
    dataset : {"LSP", "FLIC", "MPI"}
        Which data set.
    path : path
        LSP: a `joints` file. FLIC: `examples.mat`, `flic-joints-oc.mat`, the raw test joints, an h5. MPII:
        `detections_our_format.mat`, `tompson_valid_detections.mat`, an hourglass h5, `mpii_human_pose_v1_u12_1.mat`
        (its people with joints).
    images : path, optional
        Folder of the images.
    centric : {"person", "observer"}
        LSP only: which labels are asked.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        The file is not one of those, or not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"ground truth {path} is not there")
    samples = _read(dataset, path, images, centric)
    scored = [sample for sample in samples if dataset == "MPI" or sample.split == "test"]
    if not scored:
        raise DataError(f"{path}: none of its {len(samples)} people is of the split that {dataset} scores")
    return Truth.of(scored, str(path))


def _read(dataset: str, path: Path, images: str | Path | None, centric: Centricity) -> list[Sample]:
    if dataset == "LSP":
        return read_lsp(path, images, centric=centric)
    if path.suffix in (".h5", ".hdf5"):
        return read_flic_h5(path, images) if dataset == "FLIC" else read_mpii_hourglass(path, images)
    found = _variables(path)
    if dataset == "FLIC":
        return read_flic_raw_test(path) if "joints" in found else read_flic(path, images)
    if "pos_gt_src" in found:
        return read_mpii_detections(path)
    if "annolist" in found:
        return read_mpii_validation(path)
    return read_mpii(path, images)


def _variables(path: Path) -> set[str]:
    from scipy.io import whosmat

    try:
        return {name for name, _, _ in whosmat(path)}
    except Exception as error:
        raise DataError(f"{path}: not a readable MATLAB file ({type(error).__name__}: {error})") from error


def _lengths(values: Sequence[float | None]) -> NDArray[np.float64] | None:
    known = [value for value in values if value is not None]
    return np.array(known, dtype=np.float64) if len(known) == len(values) else None
