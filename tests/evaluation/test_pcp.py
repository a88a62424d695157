"""Strict PCP: both ends within half the stick, mid-shoulders to mid-hips as the torso. Oracle: hand-worked people."""

from __future__ import annotations

import numpy as np
import pytest

from cpm_port.errors import ShapeError
from cpm_port.evaluation.pcp import STICKS, stick_errors
from cpm_port.parts import LSP14


def _person() -> np.ndarray:
    places = {
        "right_shoulder": (0, 0), "left_shoulder": (60, 0), "right_hip": (10, 80), "left_hip": (50, 80),
        "right_elbow": (0, 40), "left_elbow": (60, 40), "right_wrist": (0, 80), "left_wrist": (60, 80),
        "right_knee": (10, 140), "left_knee": (50, 140), "right_ankle": (10, 200), "left_ankle": (50, 200),
        "neck": (30, -10), "head_top": (30, -40),
    }  # fmt: skip
    return np.array([[places[part] for part in LSP14.parts]], dtype=float)


def _moved(part: str, dx: float, dy: float = 0) -> np.ndarray:
    moved = _person()
    moved[0, LSP14.index(part)] += (dx, dy)
    return moved


def _found(predicted: np.ndarray, truth: np.ndarray | None = None) -> set[str]:
    errors = stick_errors(predicted, _person() if truth is None else truth, LSP14)
    return {stick for stick, error in zip(STICKS, errors[0], strict=True) if error <= 0.5}


def test_a_stick_needs_both_of_its_ends() -> None:
    assert _found(_person()) == set(STICKS)
    # forearm and upper arm are 40 long: 20 px is the last hit, 21 a miss for both sticks that share the elbow
    assert _found(_moved("right_elbow", 20)) == set(STICKS)
    assert _found(_moved("right_elbow", 21)) == set(STICKS) - {"right_upper_arm", "right_forearm"}


def test_the_torso_runs_from_mid_shoulders_to_mid_hips() -> None:
    # 80 long; one shoulder off by 80 moves the middle by 40: still a hit, 82 no longer
    assert "torso" in _found(_moved("left_shoulder", 0, 80))
    assert "torso" not in _found(_moved("left_shoulder", 0, 82))


def test_a_stick_of_length_zero_counts_and_is_found_by_an_exact_prediction_alone() -> None:
    truth = _person()
    truth[0, LSP14.index("right_ankle")] = truth[0, LSP14.index("right_knee")]
    assert "right_lower_leg" in _found(truth, truth)
    almost = truth.copy()
    almost[0, LSP14.index("right_ankle"), 0] += 0.001
    errors = stick_errors(almost, truth, LSP14)
    assert errors[0, list(STICKS).index("right_lower_leg")] == np.inf


def test_a_stick_without_annotation_is_not_counted() -> None:
    truth = _person()
    truth[0, LSP14.index("neck")] = np.nan
    errors = stick_errors(_person(), truth, LSP14)
    assert np.isnan(errors[0, list(STICKS).index("head")])
    assert np.isfinite(np.delete(errors[0], list(STICKS).index("head"))).all()


def test_a_stick_of_which_an_end_is_not_predicted_is_infinitely_far() -> None:
    errors = stick_errors(_moved("right_elbow", np.nan), _person(), LSP14)[0]
    lost = {name for name, error in zip(STICKS, errors, strict=True) if error == np.inf}
    assert lost == {"right_upper_arm", "right_forearm"}
    assert np.isfinite(np.delete(errors, [list(STICKS).index(name) for name in lost])).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="14, 2"):
        stick_errors(_person()[:, :9], _person(), LSP14)
