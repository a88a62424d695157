"""Fixtures that every test may use.

`shared` is the one door to the reference material beside the checkout (`../shared`, or `$CPM_PORT_SHARED`): tests that
ask for it skip, with a reason, where it is absent. `golden` reads `tests/golden/`, whose every array has its
provenance. `opencv4` is for tests whose oracle is OpenCV 4.14, `one_thread` for claims that hold to the bit.

Tests marked `gpu` run on a CUDA device; where there is none they skip here, and `tests/pretended_gpu/test_process.py`
runs them in a process that pretends one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import opencv4
from tests.support import load_golden, shared_dir


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here; tests/pretended_gpu/test_process.py runs this on a pretended one")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of the reference material; skip where it is absent."""
    found = shared_dir()
    if found is None:
        pytest.skip("the reference material (../shared or $CPM_PORT_SHARED) is not here")
    return found


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread, for claims that hold to the bit.

    A convolution's gradient is a sum whose order depends on the number of threads, and with several of them may depend
    on which is done first.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Return the reader of `tests/golden/`."""
    return load_golden


@pytest.fixture(scope="session", name="opencv4")
def opencv4_fixture() -> None:
    """OpenCV 4.14 in the peers' environment; skip where there is none."""
    if reason := opencv4.why_absent():
        pytest.skip(reason)
