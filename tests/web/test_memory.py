"""Claim: what the server keeps is bounded in bytes and in time. Oracle: a clock that the test sets."""

from __future__ import annotations

import pytest

from cpm_port.web.memory import Kept


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_least_recently_used_goes_first(clock: Clock) -> None:
    kept: Kept[str] = Kept(100, 60, clock)
    a, b = kept.put("a", 40), kept.put("b", 40)
    assert kept.get(a) == "a"
    c = kept.put("c", 40)
    assert [kept.get(name) for name in (a, b, c)] == ["a", None, "c"]
    assert kept.bytes == 80


def test_one_value_that_is_too_large_is_kept_until_the_next_comes(clock: Clock) -> None:
    kept: Kept[str] = Kept(100, 60, clock)
    large = kept.put("large", 1000)
    assert kept.get(large) == "large"
    small = kept.put("small", 1)
    assert (kept.get(large), kept.get(small)) == (None, "small")


def test_what_was_not_asked_for_is_dropped_in_time(clock: Clock) -> None:
    kept: Kept[str] = Kept(100, 60, clock)
    a, b = kept.put("a", 1), kept.put("b", 1)
    clock.now = 50
    assert kept.get(b) == "b"
    clock.now = 70
    kept.drop_old()
    assert len(kept) == 1
    assert (kept.get(a), kept.get(b)) == (None, "b")


def test_values_are_dropped_by_name_and_by_condition(clock: Clock) -> None:
    kept: Kept[int] = Kept(100, 60, clock)
    names = [kept.put(value, 1) for value in range(4)]
    assert kept.drop(names[0]) == 0
    assert kept.drop(names[0]) is None
    kept.drop_where(lambda value: value % 2 == 1)
    assert [kept.get(name) for name in names] == [None, None, 2, None]


def test_names_cannot_be_guessed_from_each_other(clock: Clock) -> None:
    kept: Kept[int] = Kept(10_000, 60, clock)
    assert len({kept.put(0, 1) for _ in range(1000)}) == 1000
