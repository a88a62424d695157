"""Claim: `CRand` is glibc's `rand()`. Oracles: the numbers that the reference notes give, the machine's C library."""

from __future__ import annotations

import ctypes
import platform

import pytest

from cpm_port.errors import UsageError
from cpm_port.training.crand import RAND_MAX, CRand

UNSEEDED = [1804289383, 846930886, 1681692777, 1714636915, 1957747793, 424238335]


def test_an_unseeded_sequence_is_that_of_seed_1() -> None:
    rand = CRand()
    assert [rand.rand() for _ in UNSEEDED] == UNSEEDED


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc")
@pytest.mark.parametrize("seed", [0, 1, 7, 99, 12345, 2**31 - 1, 2**31, 2**31 + 5, 2**32 - 1])
def test_the_sequence_is_the_c_librarys(seed: int) -> None:
    library = ctypes.CDLL(None)
    library.srand(ctypes.c_uint(seed))
    expected = [library.rand() for _ in range(10_000)]
    rand = CRand(seed)
    assert [rand.rand() for _ in range(10_000)] == expected


def test_numbers_reach_from_zero_to_rand_max() -> None:
    rand = CRand(3)
    numbers = [rand.rand() for _ in range(20_000)]
    assert 0 <= min(numbers) < 2**18
    assert RAND_MAX - 2**18 < max(numbers) <= RAND_MAX


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_srand_does_not_take_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match=f"srand {seed}"):
        CRand(seed)
