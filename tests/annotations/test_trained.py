"""Claim: people to train on come with center, scale and image size, and without the test's people.

Oracle: drawn labels. How a scale is found where the data set has none is tests/annotations/test_mpi_like_scale.py's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from cpm_port.annotations.trained import read_trained
from cpm_port.parts import LSP14
from tests.evaluation.support import drawn_people


def test_lsps_first_thousand_are_trained_on_with_what_records_need(tmp_path: Path) -> None:
    people = drawn_people(LSP14, 2000, 0) * 0.2
    joints = np.concatenate([people + 1, 0 * people[..., :1]], axis=2)
    savemat(tmp_path / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    for i in range(1000):
        Image.new("RGB", (40 + i % 3, 50)).save(tmp_path / f"im{i + 1:04d}.jpg")
    found = read_trained("lsp", tmp_path / "joints.mat", tmp_path)
    assert [sample.name for sample in found] == [f"im{i + 1:04d}" for i in range(1000)]
    assert all(sample.person.center is not None and sample.person.scale is not None for sample in found)
    assert [sample.image_size for sample in found[:4]] == [(40, 50), (41, 50), (42, 50), (40, 50)]
