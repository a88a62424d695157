"""Claim: OpenCV's Caffe importer reads the default model's shipped files unchanged and gives the same belief maps.

Oracle: OpenCV 4.14 in the peers' environment (`make peers`); version 5 has no Caffe importer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port import load_net
from cpm_port.drawn.source import DrawnPeople
from cpm_port.engine import accelerate
from cpm_port.imaging.pyramid import build_pyramid
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import net_input
from cpm_port.inference.whereabouts import search_of
from cpm_port.zoo import model_named
from tests import opencv4

CLOSE = 1e-5  # of a map's largest value: another order of summation


@pytest.mark.usefixtures("opencv4")
def test_opencv_gives_every_stages_beliefs_from_the_shipped_files(tmp_path: Path) -> None:
    entry = model_named("default")
    weights = entry.net.with_name(entry.file_name)
    net = load_net(entry.net, weights)
    stages = list(read_interface(net).stages.values())
    assert len(stages) == 3
    sample, image = DrawnPeople(count=1, seed=1001, difficulty=50)[0]
    search = search_of(sample, (image.shape[0], image.shape[1]), entry.box[0])
    crops = build_pyramid(image, search.center_xy, search.scales[3:4], entry.box[0]).crops
    data = net_input(crops, 4, entry.center_sigma)
    theirs = opencv4.forward(entry.net, weights, data.numpy(), stages, tmp_path)
    assert list(theirs) == stages
    for way in (net, accelerate(net)):
        with torch.inference_mode():
            ours = way(data, blobs=stages)
        for stage, maps in theirs.items():
            assert maps.shape == tuple(ours[stage].shape)
            difference = float(np.abs(ours[stage].numpy() - maps).max() / np.abs(maps).max())
            assert difference <= CLOSE, f"{stage}: largest difference {difference:.1e} of the largest value"
