"""Where OpenCV cannot be imported, what needs no OpenCV works, and the rest says what is missing.

Oracle: a `cv2` that fails as the wheel does on a server without `libGL.so.1`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.support import GOLDEN, ROOT

REASON = "libGL.so.1: cannot open shared object file: No such file or directory"
LAYERS = GOLDEN / "caffe" / "layers"


@pytest.fixture
def without_opencv(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `import cv2` fails."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "cv2.py").write_text(f"raise ImportError({REASON!r})")
    path = os.pathsep.join([str(tmp_path / "fake"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "CPM_PORT_MODELS": str(tmp_path / "models")}


def call(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cpm_port", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", str(LAYERS / "conv_basic.prototxt")],
        ["convert", str(LAYERS / "batchnorm_global.caffemodel"), "a.safetensors"],
        ["prototxt", "--arch", "mpi", "--out", "nets"],
        ["models"],
        ["predict", "--help"],
        ["train", "--help"],
        ["records", "json", "--help"],
        ["evaluate", "--protocol", "lsp-pc", "--predictions", "pred.mat", "--ground-truth", "joints.mat"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_no_opencv_works(arguments: list[str], without_opencv: dict[str, str], tmp_path: Path) -> None:
    joints = np.random.default_rng(0).uniform(1, 100, (3, 14, 4))
    joints[2] = 0
    savemat(tmp_path / "joints.mat", {"joints": joints})
    savemat(tmp_path / "pred.mat", {"prediction_all": joints[:2].transpose(1, 0, 2)})
    done = call(without_opencv, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr


def test_a_net_runs(without_opencv: dict[str, str], tmp_path: Path) -> None:
    net = str(LAYERS / "conv_basic")
    model = ["--net", f"{net}.prototxt", "--weights", f"{net}.caffemodel"]
    done = call(without_opencv, tmp_path, "forward", *model, "--input", f"{net}.npz", "--output", "o.npz")
    assert done.returncode == 0, done.stderr


def test_a_prediction_says_what_is_missing_and_both_ways_out(without_opencv: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no matter")
    done = call(without_opencv, tmp_path, "predict", "a.jpg")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    for told in (REASON, "pip install opencv-python-headless", "the system's packages", "libgl1"):
        assert told in line
