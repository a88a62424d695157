"""OpenCV 4.14's Caffe importer in the peers' environment (`make peers`), an oracle; OpenCV 5 has none."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support import ROOT

__all__ = ["PEERS", "forward", "why_absent"]

PEERS = ROOT / ".venv-peers" / "bin" / "python"
_FORWARD = """
import sys, cv2, numpy as np
cv2.setNumThreads(1)
prototxt, model, data, out, *blobs = sys.argv[1:]
net = cv2.dnn.readNetFromCaffe(prototxt, model)
net.enableWinograd(False)  # its 3 x 3 convolutions are a few 1e-5 off otherwise
net.setInput(np.load(data))
np.savez(out, **dict(zip(blobs, net.forward(blobs))))
"""


def why_absent() -> str | None:
    """Return why tests must skip, or None where OpenCV 4.14 is there."""
    if not PEERS.exists():
        return "no .venv-peers with OpenCV 4.14 (OpenCV 5 dropped the Caffe importer)"
    version = subprocess.run([PEERS, "-c", "import cv2; print(cv2.__version__)"], capture_output=True, text=True)
    if version.stdout.startswith("4.14"):
        return None
    return f".venv-peers has OpenCV {version.stdout.strip() or 'none'}, not 4.14"


def forward(
    prototxt: Path, caffemodel: Path, data: np.ndarray, blobs: Sequence[str], folder: Path
) -> dict[str, np.ndarray]:
    """Run a net's files on its one input in a process of its own; return the blobs asked for."""
    np.save(folder / "data.npy", data)
    files = [str(path) for path in (prototxt, caffemodel, folder / "data.npy", folder / "out.npz")]
    run = subprocess.run([PEERS, "-c", _FORWARD, *files, *blobs], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)
