"""Claim: OpenCV's Caffe importer reads the default model's shipped files unchanged and gives the same belief maps.

Oracle: OpenCV 4.14 in the peers' environment (`make peers`); version 5 has no Caffe importer.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port import load_net
from cpm_port.data.drawn import DrawnPeople
from cpm_port.engine import accelerate
from cpm_port.imaging.pyramid import build_pyramid, mpii_search
from cpm_port.inference.predict import net_input
from cpm_port.zoo import named
from tests.support import ROOT

PEERS = ROOT / ".venv-peers" / "bin" / "python"
CLOSE = 1e-5  # of a map's largest value: another order of summation
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
    """The peers' Python; skip where there is none."""
    if not PEERS.exists():
        pytest.skip("no .venv-peers with OpenCV 4.14 (OpenCV 5 dropped the Caffe importer)")
    version = subprocess.run([PEERS, "-c", "import cv2; print(cv2.__version__)"], capture_output=True, text=True)
    if not version.stdout.startswith("4.14"):
        pytest.skip(f".venv-peers has OpenCV {version.stdout.strip() or 'none'}, not 4.14")
    return PEERS


def test_opencv_gives_every_stages_beliefs_from_the_shipped_files(opencv: Path, tmp_path: Path) -> None:
    entry = named("default")
    weights = entry.net.with_name(entry.file_name)
    net = load_net(entry.net, weights)
    (output,) = net.spec.outputs
    stages = [
        layer.tops[0]
        for layer in net.spec.layers
        if layer.type == "Convolution" and net.blob_shapes[layer.tops[0]] == net.blob_shapes[output]
    ]
    assert len(stages) > 1
    sample, image = DrawnPeople(count=1, seed=1001, difficulty=50)[0]
    assert sample.person.center is not None
    assert sample.person.scale is not None
    search = mpii_search(sample.person.center, sample.person.scale, entry.box[0])
    crops = build_pyramid(image, search.center_xy, search.scales[3:4], entry.box[0]).crops
    data = net_input(crops, 4, entry.center_sigma)
    np.save(tmp_path / "data.npy", data.numpy())
    files = [str(path) for path in (entry.net, weights, tmp_path / "data.npy", tmp_path / "out.npz")]
    run = subprocess.run([opencv, "-c", READ, *files, *stages], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        theirs = dict(arrays)
    assert list(theirs) == stages
    for way in (net, accelerate(net)):
        with torch.inference_mode():
            ours = way(data, blobs=stages)
        for stage, maps in theirs.items():
            assert maps.shape == tuple(ours[stage].shape)
            difference = float(np.abs(ours[stage].numpy() - maps).max() / np.abs(maps).max())
            assert difference <= CLOSE, f"{stage}: largest difference {difference:.1e} of the largest value"
