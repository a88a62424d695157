"""Scores by viewpoint: the paper's Figure 11, where the labels say which way people face.

METRICS -> REPORT. MPII has an orientation of the torso for some people (`Person.facing`); they are put into eight
sectors of 45 degrees, named by where a person faces.

Differs from the paper: its viewpoints are the data set's own groups, whose borders are not at hand, and it scores the
test set, whose labels are private.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError
from cpm_port.evaluation.measure import Measurement
from cpm_port.evaluation.scores import ProtocolResult
from cpm_port.evaluation.truth import Truth

__all__ = ["VIEWS", "by_view", "views_of"]

VIEWS = ("camera", "camera, right", "right", "away, right", "away", "away, left", "left", "camera, left")
"""Where a person faces; right and left are the image's. Every sector is centred on 0, 45, ... degrees."""


def views_of(facing: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return everybody's place in `VIEWS`, -1 where nothing is said (NaN); 22.5 begins "camera, right"."""
    known = np.isfinite(facing)
    sectors = np.floor((np.where(known, facing, 0.0) + 22.5) % 360 / 45)
    return np.where(known, sectors.astype(np.intp) % len(VIEWS), -1)


def by_view(measurement: Measurement, truth: Truth, threshold: float | None = None) -> dict[str, ProtocolResult]:
    """Return the score of the people of every viewpoint that is there.

    Parameters
    ----------
    measurement : Measurement
    truth : Truth
        Of the same people.
    threshold : float, optional
        Fraction of the normalizer; the protocol's own by default.

    Raises
    ------
    DataError
        The labels say of nobody which way they face.
    """
    if truth.facing is None:
        raise DataError(f"{truth.source}: says of nobody which way they face; MPII's own annotations do, of some")
    views = views_of(truth.facing)
    return {
        name: Measurement(measurement.protocol, measurement.errors[views == place]).result(threshold)
        for place, name in enumerate(VIEWS)
        if (views == place).any()
    }
