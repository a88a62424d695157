"""OpenCV 4.14's Caffe importer reads the files that we write, and gives our outputs.

OpenCV 5 has no Caffe importer, so this runs in the peers' environment, `.venv-peers`, in a process of its own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net, write_prototxt
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import architecture, deploy_text
from tests.graph.support import REAL_CAFFE, recipe_input, recipe_weights, relative_error
from tests.support import ROOT

PEERS = ROOT / ".venv-peers" / "bin" / "python"
READ = """
import sys, cv2, numpy as np
cv2.setNumThreads(1)
prototxt, model, data, out, *blobs = sys.argv[1:]
net = cv2.dnn.readNetFromCaffe(prototxt, model)
net.enableWinograd(False)  # its 3 x 3 convolutions are a few 1e-5 off otherwise
net.setInput(np.load(data))
np.savez(out, **dict(zip(blobs, net.forward(blobs))))
"""


@pytest.fixture(scope="module")
def opencv() -> Path:
    if not PEERS.exists():
        pytest.skip("no .venv-peers with OpenCV 4.14 (OpenCV 5 dropped the Caffe importer)")
    version = subprocess.run([PEERS, "-c", "import cv2; print(cv2.__version__)"], capture_output=True, text=True)
    if not version.stdout.startswith("4.14"):
        pytest.skip(f".venv-peers has OpenCV {version.stdout.strip() or 'none'}, not 4.14")
    return PEERS


def opencv_outputs(python: Path, net: CaffeNet, data: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    write_prototxt(folder / "net.prototxt", net.spec)
    net.save(folder / "net.caffemodel")
    np.save(folder / "data.npy", data)
    files = [str(folder / name) for name in ("net.prototxt", "net.caffemodel", "data.npy", "out.npz")]
    run = subprocess.run([python, "-c", READ, *files, *net.outputs], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["mpi", "flic", "mpi-vgg", "person"])
def test_opencv_gives_our_outputs_for_a_model_that_we_wrote(name: str, opencv: Path, tmp_path: Path) -> None:
    arch = architecture(name, width=8, box=(96, 120))
    net = load_net(parse_net(deploy_text(arch)))
    net.load_weights(recipe_weights(net, seed=3))
    data = recipe_input(96, 120, seed=4)[:, : arch.channels]
    theirs = opencv_outputs(opencv, net, data, tmp_path)
    with torch.no_grad():
        ours = net(data)
    assert list(theirs) == list(ours) == [arch.outputs[-1]]
    for blob, array in theirs.items():
        assert relative_error(ours[blob], array) <= REAL_CAFFE
