"""Claim: LSP's people get scales by the four described steps. Oracles: figures of known size, folded, cut, broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port.annotations.lsp import read_lsp
from cpm_port.annotations.mpi_like_scale import with_mpi_like_scale
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError
from cpm_port.parts import CPM14, FLIC9, PartOrder
from cpm_port.release import MPI_LIKE_LARGEST_BOX, TARGET_DIST

UPRIGHT = np.array(
    [
        [0, 0], [0, 35], [-20, 40], [-25, 75], [-25, 105], [20, 40], [25, 75], [25, 105],
        [-10, 100], [-10, 145], [-10, 190], [10, 100], [10, 145], [10, 190],
    ],
    float,
)  # fmt: skip


def sample(joints: np.ndarray, order: PartOrder = CPM14) -> Sample:
    visible = np.isfinite(joints[:, 0])
    return Sample("LSP", "a", None, "train", order, "person", Person(joints, visible))


def scales(*people: np.ndarray) -> list[float]:
    return [found.person.scale or 0.0 for found in with_mpi_like_scale([sample(joints) for joints in people])]


def test_a_head_of_35_px_is_scale_1() -> None:
    assert scales(UPRIGHT, 2 * UPRIGHT, 0.5 * UPRIGHT + 300) == pytest.approx([1, 2, 0.5])


def test_foreshortened_limbs_do_not_shrink_a_person() -> None:
    folded = UPRIGHT.copy()
    folded[9:11, 1] = [100, 102]  # one leg towards the viewer
    folded[0, 1] = 20  # the head bowed
    assert scales(UPRIGHT, UPRIGHT, folded)[2] == pytest.approx(1, rel=0.02)


def test_joints_that_are_missing_are_left_out() -> None:
    cut = UPRIGHT.copy()
    cut[[0, 4, 10, 13]] = np.nan
    found = with_mpi_like_scale([sample(UPRIGHT), sample(cut)])[1].person
    assert found.scale == pytest.approx(1)
    assert found.center == pytest.approx((0, (35 + 145) / 2))


def test_a_person_who_would_not_fit_is_given_a_larger_scale() -> None:
    stretched = UPRIGHT.copy()
    stretched[[10, 13], 1] = 600  # a broken label
    found = scales(*[UPRIGHT] * 5, stretched)[5]
    assert 600 * TARGET_DIST / found == pytest.approx(MPI_LIKE_LARGEST_BOX)


def test_lsps_people_come_out_at_a_sensible_size(shared: Path) -> None:
    samples = with_mpi_like_scale(read_lsp(shared / "datasets/lsp/lsp-joints-PC.mat"))
    ratio = np.array([np.ptp(s.person.joints, axis=0).max() / 200 / s.person.scale for s in samples])
    assert 0.9 < np.median(ratio) < 1.3  # MPII's scale: about the person's height over 200 px
    assert ratio.max() <= MPI_LIKE_LARGEST_BOX / TARGET_DIST / 200 + 1e-9


def test_what_cannot_be_measured_is_refused() -> None:
    alone = np.full((14, 2), np.nan)
    alone[0] = 3, 4
    headless = UPRIGHT.copy()
    headless[0] = np.nan
    for people, message in (
        ([], "one part order"),
        ([sample(UPRIGHT[:9], FLIC9)], "'flic9' has no head_top and neck"),
        ([sample(UPRIGHT), sample(alone)], "1 people without a single limb, the first 'a'"),
        ([sample(headless)], "no person has both head top and neck"),
    ):
        with pytest.raises(DataError, match=message):
            with_mpi_like_scale(people)
