"""Ground truth as scoring needs it: the samples of one data set's split, stacked.

SAMPLES -> METRICS. Which file they come from is decided in `cpm_port.annotations.scored`; which normalizer is made
of them, by the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Sample, stack_joints
from cpm_port.annotations.scored import read_scored
from cpm_port.parts import Centricity, Joints
from cpm_port.release import MPII_PERSON_HEIGHT

__all__ = ["Truth", "read_truth"]


@dataclass(frozen=True, eq=False)
class Truth:
    """Annotations of N people.

    Attributes
    ----------
    joints : Joints
        (N, P, 2), 0-based; NaN where not annotated.
    head_size : ndarray, shape (N,), or None
        0.6 times the head box's diagonal, px; NaN for people without a box, None where nobody has one.
    torso_diagonal : ndarray, shape (N,), or None
        Diagonal of the torso box, px; likewise.
    names : tuple of str
        Names of the samples.
    images : tuple of Path or None
        Image files, where the source names them.
    source : str
        Where they came from, for messages.
    named : bool
        Whether the names say who is who; False where they count the rows of a source without names.
    facing : ndarray, shape (N,), or None
        Which way people's torsos face, degrees (see `Person`); NaN or None where nothing is said.
    height : ndarray, shape (N,), or None
        Of the person as their scale tells it, px; NaN for people without a scale, None where nobody has one.
    """

    joints: Joints
    head_size: NDArray[np.float64] | None
    torso_diagonal: NDArray[np.float64] | None
    names: tuple[str, ...]
    images: tuple[Path | None, ...]
    source: str
    named: bool = True
    facing: NDArray[np.float64] | None = None
    height: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, samples: Sequence[Sample], source: str) -> Truth:
        """Stack samples."""
        people = [sample.person for sample in samples]
        heads = [person.head_size for person in people]
        boxes = [person.torso_box for person in people]
        diagonals = [
            person.torso_diagonal if box is None else float(np.hypot(box[2] - box[0], box[3] - box[1]))
            for person, box in zip(people, boxes, strict=True)
        ]
        return cls(
            stack_joints(samples),
            _numbers(heads),
            _numbers(diagonals),
            tuple(sample.name for sample in samples),
            tuple(sample.image for sample in samples),
            source,
            all(sample.named for sample in samples),
            _numbers([person.facing for person in people]),
            _numbers([None if person.scale is None else MPII_PERSON_HEIGHT * person.scale for person in people]),
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
            self.named,
            None if self.facing is None else self.facing[:count],
            None if self.height is None else self.height[:count],
        )


def read_truth(
    dataset: str, path: str | Path, *, images: str | Path | None = None, centric: Centricity = "person"
) -> Truth:
    """Read a data set's scored people from any known label file; parameters and errors as `scored.read_scored`."""
    return Truth.of(read_scored(dataset, path, images=images, centric=centric), str(path))


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64] | None:
    if all(value is None for value in values):
        return None
    return np.array([np.nan if value is None else value for value in values])
