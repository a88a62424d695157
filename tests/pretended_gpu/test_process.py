"""Claim: every path that a GPU takes runs on the pretended one, and keeps to a GPU's rules.

Oracle: the tests marked `gpu`, in a process of their own, whose torch believes in two devices.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.pretended_gpu.build import why_absent

TESTS = Path(__file__).parents[1]


def test_what_needs_a_gpu_runs_on_the_pretended_one() -> None:
    if torch.cuda.is_available():
        pytest.skip("the tests marked gpu run here on the GPU of this machine, or on a pretended one already")
    if reason := why_absent():
        pytest.skip(reason)
    marked = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.pretended_gpu.plugin", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*command, "-m", "gpu", *marked],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
