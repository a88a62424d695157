"""The bench of people who cross says how often they have their own number. Oracles: counts by hand, a short film."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cpm_port.bench import crossing
from cpm_port.bench.crossing import _who_is_who


@pytest.mark.parametrize(
    ("frames", "right_id", "frames_right", "switches", "ids"),
    [
        ([{0: 5, 1: 7}, {0: 5}, {}, {0: 5, 1: 7}], 100.0, 100.0, 0, 2),
        ([{0: 5, 1: 7}, {0: 5, 1: 7}, {0: 7, 1: 5}, {0: 5, 1: 7}], 75.0, 75.0, 4, 2),
        ([{0: 5}, {0: 6}, {0: 6}, {0: 6, 1: 5}], 80.0, 75.0, 1, 2),
        ([{0: 5}, {1: 5}, {1: 5}, {0: 8}], 75.0, 75.0, 1, 2),
        ([{}, {}], 0.0, 0.0, 0, 0),
    ],
)
def test_a_number_is_right_where_it_belongs_to_the_person(
    frames: list[dict[int, int]], right_id: float, frames_right: float, switches: int, ids: int
) -> None:
    counted = _who_is_who(frames, 2)
    assert (counted["right_id"], counted["frames_right"]) == (right_id, frames_right)
    assert (counted["switches"], counted["ids"]) == (switches, ids)


def test_a_short_film_is_followed_and_kept(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    crossing.configure(parser)
    kept = ["--keep", str(tmp_path / "kept")]
    result = crossing.run(parser.parse_args(["--seconds", "0.2", "--size", "160", "96", "--people", "2", *kept]))
    assert result["frames"] == 2
    assert result["right_id"] == 100.0
    assert result["recall"] > 0
    assert sum(person["found"] for person in result["by_person"]) == pytest.approx(result["recall"] / 100 * 4)
    assert (tmp_path / "kept" / "found" / "crossing.json").is_file()
