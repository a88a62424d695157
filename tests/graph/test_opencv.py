"""OpenCV 4.14's Caffe importer reads the files that we write, and gives our outputs.

Oracle: `tests/opencv4.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cpm_port.caffe import parse_net, write_prototxt
from cpm_port.graph import load_net
from cpm_port.models import architecture, deploy_text
from tests import opencv4
from tests.graph.support import REAL_CAFFE, recipe_input, recipe_weights, relative_error


@pytest.mark.usefixtures("opencv4")
@pytest.mark.parametrize("name", ["mpi", "flic", "mpi-vgg", "person"])
def test_opencv_gives_our_outputs_for_a_model_that_we_wrote(name: str, tmp_path: Path) -> None:
    arch = architecture(name, width=8, box=(96, 120))
    net = load_net(parse_net(deploy_text(arch)))
    net.load_weights(recipe_weights(net, seed=3))
    data = recipe_input(96, 120, seed=4)[:, : arch.channels]
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    write_prototxt(prototxt, net.spec)
    net.save(caffemodel)
    theirs = opencv4.forward(prototxt, caffemodel, data, net.outputs, tmp_path)
    with torch.no_grad():
        ours = net(data)
    assert list(theirs) == list(ours) == [arch.outputs[-1]]
    for blob, array in theirs.items():
        assert relative_error(ours[blob], array) <= REAL_CAFFE
