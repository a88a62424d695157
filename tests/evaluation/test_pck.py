"""PCK's arithmetic: the numba twins equal their NumPy readings, hits are exact at ties, bad input is refused.

Oracles: NumPy's reading of each kernel, hand-worked cases, and a loop written out here.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_port.errors import DataError, ShapeError
from cpm_port.evaluation import pck as module
from cpm_port.evaluation.pck import area_under_curve, hit_counts, normalized_errors, pck, threshold_grid
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.parts import LSP14


@pytest.mark.parametrize(("people", "parts"), [(0, 3), (1, 1), (7, 14), (300, 16)])
def test_distances_equal_numpys_bit_by_bit(people: int, parts: int) -> None:
    draw = np.random.default_rng(people)
    predicted, truth = draw.normal(0, 50, (2, people, parts, 2))
    truth[draw.random((people, parts)) < 0.2] = np.nan
    normalizer = draw.uniform(1, 100, people)
    expected = module._normalized_errors_reference(predicted, truth, normalizer)
    assert np.array_equal(normalized_errors(predicted, truth, normalizer), expected, equal_nan=True)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("people", [0, 1, 500])
def test_counts_equal_numpys_with_ties_nan_and_infinity(people: int, strict: bool) -> None:
    draw = np.random.default_rng(people)
    errors = draw.integers(0, 30, (people, 5)) / 100
    errors[draw.random((people, 5)) < 0.1] = np.nan
    errors[draw.random((people, 5)) < 0.1] = np.inf
    for thresholds in (threshold_grid(0.2), np.array([0.0]), np.array([]), np.array([0.1, 0.1, 0.25, 7.0])):
        expected = module._hit_counts_reference(errors, thresholds, strict)
        assert np.array_equal(hit_counts(errors, thresholds, strict=strict), expected)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=40), st.lists(st.floats(0, 1.5), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_counts_equal_a_loop_whatever_the_thresholds(errors: list[float], thresholds: list[float]) -> None:
    thresholds.sort()
    for strict in (False, True):
        expected = [sum(e < t if strict else e <= t for e in errors) for t in thresholds]
        found = hit_counts(np.array(errors)[:, None], np.array(thresholds), strict=strict)
        assert found[:, 0].tolist() == expected


def test_a_tie_is_a_hit_unless_strict() -> None:
    predicted, truth = np.array([[[12.0, 16.0]]]), np.zeros((1, 1, 2))  # 20 px off
    hits, counts = pck(predicted, truth, np.array([100.0]), np.array([0.19, 0.2]))
    assert hits[:, 0].tolist() == [0, 1]
    assert counts.tolist() == [1]
    assert pck(predicted, truth, np.array([100.0]), np.array([0.2]), strict=True)[0].tolist() == [[0]]


def test_the_grid_is_correctly_rounded() -> None:
    assert threshold_grid(0.2).tolist() == [float(f"0.{k:02d}") for k in range(21)]
    assert len(threshold_grid(0.5)) == 51


def test_a_joint_without_ground_truth_is_not_counted() -> None:
    truth = np.array([[[0.0, 0.0], [np.nan, np.nan]]])
    hits, counts = pck(np.zeros((1, 2, 2)), truth, np.array([10.0]), np.array([0.5]))
    assert hits.tolist() == [[1, 0]]
    assert counts.tolist() == [1, 0]


def test_perfect_joints_score_everything_and_hits_never_fall() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(0, 50, (50, 14, 2))
    assert (pck(truth, truth, np.full(50, 30.0), threshold_grid(0.2))[0] == 50).all()
    hits, _ = pck(truth + draw.normal(0, 3, truth.shape), truth, np.full(50, 30.0), threshold_grid(0.2))
    assert (np.diff(hits, axis=0) >= 0).all()


def test_the_area_is_the_trapezoid_divided_by_the_last_threshold() -> None:
    thresholds = threshold_grid(0.2)
    curve = np.random.default_rng(1).random((21, 3))
    assert np.allclose(area_under_curve(thresholds, curve), np.trapezoid(curve, thresholds, axis=0) / 0.2, atol=1e-14)
    assert area_under_curve(thresholds, np.full(21, 100.0)) == pytest.approx(100)


def test_the_torso_goes_from_the_left_shoulder_to_the_right_hip() -> None:
    truth = np.random.default_rng(2).normal(0, 50, (20, 14, 2))
    torso = np.array([np.hypot(*(person[9] - person[2])) for person in truth])  # left shoulder, right hip
    assert np.allclose(torso_diameter(truth, LSP14), torso)


@pytest.mark.parametrize(
    ("predicted", "truth", "normalizer", "error", "match"),
    [
        (
            np.zeros((2, 3, 2)),
            np.zeros((3, 3, 2)),
            np.ones(2),
            ShapeError,
            r"\(2, 3, 2\), the ground truth \(3, 3, 2\)",
        ),
        (np.zeros((2, 3, 2)), np.zeros((2, 4, 2)), np.ones(2), ShapeError, r"\(2, 4, 2\)"),
        (np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.ones(3), ShapeError, r"normalizer has shape \(3,\)"),
        (np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.array([1.0, 0.0]), DataError, "person 1: normalizer is 0"),
        (np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.array([np.nan, 1]), DataError, "person 0: normalizer is nan"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    predicted: np.ndarray, truth: np.ndarray, normalizer: np.ndarray, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        normalized_errors(predicted, truth, normalizer)


def test_what_is_not_predicted_is_infinitely_far_and_what_is_not_annotated_has_no_error() -> None:
    predicted, truth = np.zeros((1, 3, 2)), np.zeros((1, 3, 2))
    predicted[0, 0, 1] = predicted[0, 2] = truth[0, 2] = np.nan
    assert np.array_equal(normalized_errors(predicted, truth, np.ones(1)), [[np.inf, 0, np.nan]], equal_nan=True)


def test_thresholds_must_ascend_and_errors_be_a_matrix() -> None:
    with pytest.raises(DataError, match="do not ascend"):
        hit_counts(np.zeros((1, 1)), np.array([0.2, 0.1]))
    with pytest.raises(DataError, match="do not ascend"):
        hit_counts(np.zeros((1, 1)), np.array([0.2, np.nan]))
    with pytest.raises(ShapeError, match="errors"):
        hit_counts(np.zeros(3), np.array([0.1]))


def test_read_only_and_transposed_input_is_taken() -> None:
    errors = np.asfortranarray(np.random.default_rng(3).random((6, 4)))
    errors.flags.writeable = False
    assert np.array_equal(
        hit_counts(errors, threshold_grid(0.5)), module._hit_counts_reference(errors, threshold_grid(0.5), False)
    )
