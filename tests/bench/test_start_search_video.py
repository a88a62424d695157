"""The benches of what a user waits for measure what they say. Oracles: hand counts, a film's own joints, the verbs."""

from __future__ import annotations

import argparse
from types import ModuleType

import numpy as np
import pytest

from cpm_port.bench import search, start, video
from cpm_port.cli import VERBS
from cpm_port.errors import UsageError


def arguments(bench: ModuleType, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    return parser.parse_args(given)


def test_the_search_is_counted_beside_lsps_rule() -> None:
    result = search.run(arguments(search, "--count", "1", "--size", "160", "--threads", "1"))
    assert result["found"].keys() == result["pck"].keys() == {"searched", "by LSP's rule"}
    assert all(share in (0.0, 100.0) for share in result["found"].values())
    assert result["cpu_seconds_a_picture"] > 0


def test_a_drawn_films_joints_move_with_its_pictures() -> None:
    frames, joints = video.drawn_film(8, (160, 90), seed=1)
    assert len(frames) == len(joints) == 8
    assert {frame.shape for frame in frames} == {(90, 160, 3)}
    tall = np.ptp(joints, axis=1).max(axis=1)
    assert tall.max() == pytest.approx(0.8 * 90, abs=1)
    assert tall.min() == pytest.approx(0.7 * 0.8 * 90, abs=1)
    assert np.ptp(joints.mean(axis=1)[:, 0]) > 0.3 * 160


def test_a_film_is_followed_with_one_scale_and_with_seven() -> None:
    result = video.run(arguments(video, "--frames", "3", "--size", "160", "90", "--threads", "1"))
    assert result["sides"].keys() == {"one scale", "seven scales"}
    assert all(side["frames_a_second"] > 0 for side in result["sides"].values())
    assert result["sides"]["one scale"]["cpu_seconds_a_frame"] < result["sides"]["seven scales"]["cpu_seconds_a_frame"]


def test_every_verb_is_started() -> None:
    assert set(start._verbs()) == set(VERBS)


def test_a_commands_cpu_seconds_are_its_own_and_a_failure_is_told() -> None:
    assert 0 < start._cpu_seconds(["--version"]) < 60
    with pytest.raises(UsageError, match="exit code 2"):
        start._cpu_seconds(["inspect", "no such file"])
