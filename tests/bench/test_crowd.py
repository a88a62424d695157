"""The bench of several people says which belief tells people from other things. Oracle: counts by hand."""

from __future__ import annotations

from math import inf

import pytest

from cpm_port.bench.crowd import _best_belief


@pytest.mark.parametrize(
    ("beliefs", "people", "best"),
    [
        ([(inf, True), (0.3, False), (0.9, True), (0.2, False), (0.5, True)], 3, 0.5),
        ([(inf, True), (0.9, False), (0.5, True), (0.4, True), (0.1, False)], 3, 0.4),
        ([(inf, True), (inf, False), (0.9, False)], 2, inf),
    ],
)
def test_the_best_belief_is_that_of_the_last_person_worth_listing(
    beliefs: list[tuple[float, bool]], people: int, best: float
) -> None:
    assert _best_belief(beliefs, people) == best
