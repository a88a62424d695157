"""OpenCV 4.14's Caffe importer computes what we do with the forks' types that it has.

The nets spell out what it has other defaults for: `clip` of PriorBox, `share_location` of DetectionOutput.

Oracle: `tests/opencv4.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net, write_prototxt
from cpm_port.graph import CaffeNet, load_net
from tests import opencv4
from tests.graph.support import REAL_CAFFE, relative_error

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }'
CONVOLUTION = """layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{
    num_output: {outputs} kernel_size: 3 pad: 1 stride: {stride} weight_filler {{ type: "gaussian" std: 0.3 }} }} }}"""
PERMUTE = """layer {{ name: "{name}" type: "Permute" bottom: "{bottom}" top: "{name}"
    permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}"""
SSD = f"""{HEAD}
    {CONVOLUTION.format(name="c", bottom="data", outputs=6, stride=4)}
    layer {{ name: "n" type: "Normalize" bottom: "c" top: "n" norm_param {{
      across_spatial: false channel_shared: false scale_filler {{ type: "constant" value: 4 }} }} }}
    {CONVOLUTION.format(name="loc", bottom="n", outputs=16, stride=1)}
    {CONVOLUTION.format(name="conf", bottom="n", outputs=12, stride=1)}
    {PERMUTE.format(name="lp", bottom="loc")}
    {PERMUTE.format(name="cp", bottom="conf")}
    layer {{ name: "lf" type: "Flatten" bottom: "lp" top: "lf" }}
    layer {{ name: "cr" type: "Reshape" bottom: "cp" top: "cr" reshape_param {{ shape {{ dim: 0 dim: -1 dim: 3 }} }} }}
    layer {{ name: "cs" type: "Softmax" bottom: "cr" top: "cs" softmax_param {{ axis: 2 }} }}
    layer {{ name: "cf" type: "Flatten" bottom: "cs" top: "cf" }}
    layer {{ name: "priors" type: "PriorBox" bottom: "n" bottom: "data" top: "priors" prior_box_param {{ min_size: 8
      max_size: 13 aspect_ratio: 2 clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }} }}
    layer {{ name: "out" type: "DetectionOutput" bottom: "lf" bottom: "cf" bottom: "priors" top: "out"
      detection_output_param {{ num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE
        keep_top_k: 12 confidence_threshold: 0.3
        nms_param {{ nms_threshold: 0.45 top_k: 30 }} }} }}"""
OTHERS = f"""{HEAD}
    {CONVOLUTION.format(name="c", bottom="data", outputs=6, stride=2)}
    layer {{ name: "dw" type: "ConvolutionDepthwise" bottom: "c" top: "dw" convolution_param {{ num_output: 6
      kernel_size: 3 pad: 1 group: 6 weight_filler {{ type: "gaussian" std: 0.9 }} }} }}
    layer {{ name: "six" type: "ReLU6" bottom: "dw" top: "six" }}
    layer {{ name: "out" type: "Interp" bottom: "six" top: "out" interp_param {{ height: 19 width: 30 }} }}"""


def in_both(
    text: str, blobs: list[str], folder: Path
) -> tuple[CaffeNet, dict[str, np.ndarray], dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    net = load_net(parse_net(text))
    data = np.random.default_rng(6).standard_normal((1, 3, 24, 32)).astype(np.float32) * 3
    write_prototxt(folder / "net.prototxt", net.spec)
    net.save(folder / "net.caffemodel")
    theirs = opencv4.forward(folder / "net.prototxt", folder / "net.caffemodel", data, blobs, folder)
    with torch.no_grad():
        return net, theirs, net(data, blobs=blobs)


@pytest.mark.usefixtures("opencv4")
def test_opencv_detects_what_we_do(tmp_path: Path) -> None:
    _, theirs, ours = in_both(SSD, ["n", "lp", "priors", "out"], tmp_path)
    for blob in ("n", "lp", "priors"):
        assert relative_error(ours[blob], theirs[blob]) <= REAL_CAFFE, blob
    found, expected = (
        np.array(sorted(map(tuple, rows.reshape(-1, 7)))) for rows in (ours["out"].numpy(), theirs["out"])
    )
    assert len(found) == 12
    np.testing.assert_allclose(found, expected, rtol=0, atol=REAL_CAFFE)


@pytest.mark.usefixtures("opencv4")
def test_opencv_gives_our_maps_for_depthwise_convolutions_relu6_and_interp(tmp_path: Path) -> None:
    _, theirs, ours = in_both(OTHERS, ["dw", "six", "out"], tmp_path)
    for blob, array in theirs.items():
        assert relative_error(ours[blob], array) <= REAL_CAFFE, blob
