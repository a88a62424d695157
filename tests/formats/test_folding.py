"""Claim: folding BatchNorms leaves a net's outputs as they are. Oracle: the net itself, run by `load_net`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.errors import WeightsError
from cpm_port.formats.folding import fold_batch_norm
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import architecture, deploy_text, train_text

SAME = 2e-6  # of the largest value: one more rounding to float32 in each weight
INPUT = 'input: "data" input_shape { dim: 2 dim: 4 dim: 9 dim: 9 }\n'
NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "a" top: "a" }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "a" top: "a" scale_param { bias_term: true } }\n'
LAYERS = {
    "convolution": 'type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 bias_term: false }',
    "grouped convolution": 'type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 group: 2 }',
    "deconvolution": 'type: "Deconvolution" convolution_param { num_output: 6 kernel_size: 2 group: 2 stride: 2 }',
    "inner product": 'type: "InnerProduct" inner_product_param { num_output: 5 }',
    "transposed inner product": 'type: "InnerProduct" inner_product_param { num_output: 5 transpose: true }',
}


def seeded(text: str) -> CaffeNet:
    """Return a TEST net with random weights and statistics of three batches."""
    net = load_net(parse_net(text))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in net.layers:
            for index, blob in enumerate(net.params.get(layer.name, ())):
                blob.normal_(0, 0.5, generator=generator)
                if layer.type == "BatchNorm" and index:
                    blob.abs_().add_(1) if index == 1 else blob.fill_(3)
    return net


def arrays(net: CaffeNet) -> dict[str, list[np.ndarray]]:
    return {name: [blob.detach().numpy() for blob in blobs] for name, blobs in net.params.items()}


def difference(net: CaffeNet) -> tuple[CaffeNet, float]:
    """Return the folded net, and how far its outputs are from the net's, relative to the largest."""
    spec, blobs = fold_batch_norm(net.spec, arrays(net))
    folded = load_net(spec)
    folded.load_weights(blobs)
    data = torch.randn(net.inputs["data"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = net(data), folded(data)
    assert before.keys() == after.keys()
    errors = [float((after[name] - before[name]).abs().max() / before[name].abs().max()) for name in before]
    return folded, max(errors)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("tail", [NORM, NORM + SCALE], ids=["norm", "norm and scale"])
def test_a_layer_takes_in_the_normalization_behind_it(kind: str, tail: str) -> None:
    net = seeded(f'{INPUT}layer {{ name: "a" bottom: "data" top: "a" {LAYERS[kind]} }}\n{tail}')
    folded, error = difference(net)
    assert [layer.type for layer in folded.layers if layer.type in ("BatchNorm", "Scale")] == []
    assert error <= SAME


def test_tops_that_are_not_in_place_keep_their_readers() -> None:
    net = seeded(f"""{INPUT}
        layer {{ name: "a" bottom: "data" top: "a" {LAYERS["convolution"]} }}
        layer {{ name: "norm" type: "BatchNorm" bottom: "a" top: "b" }}
        layer {{ name: "scale" type: "Scale" bottom: "b" top: "c" scale_param {{ axis: -3 }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "c" top: "d" }}
        layer {{ name: "sum" type: "Eltwise" bottom: "c" bottom: "d" top: "e" }}""")
    folded, error = difference(net)
    assert [layer.name for layer in folded.layers][-3:] == ["a", "relu", "sum"]
    assert error <= SAME


@pytest.mark.parametrize(
    "text",
    [
        # somebody else reads what the convolution gives
        f"""layer {{ name: "a" bottom: "data" top: "a" {LAYERS["convolution"]} }}
            layer {{ name: "norm" type: "BatchNorm" bottom: "a" top: "b" }}
            layer {{ name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "c" }}""",
        # a ReLU lies between
        f"""layer {{ name: "a" bottom: "data" top: "a" {LAYERS["convolution"]} }}
            layer {{ name: "relu" type: "ReLU" bottom: "a" top: "a" }}
            layer {{ name: "norm" type: "BatchNorm" bottom: "a" top: "a" }}""",
        # nothing is before it
        'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "a" }',
    ],
)
def test_a_normalization_stays_where_folding_would_change_another_blob(text: str) -> None:
    folded, error = difference(seeded(INPUT + text))
    assert "norm" in [layer.name for layer in folded.layers]
    assert error == 0


def test_the_residual_train_net_folds_into_its_deploy_net() -> None:
    net = architecture("residual", width=8, box=(64, 64))
    trained = seeded(train_text(net))
    _, blobs = fold_batch_norm(trained.spec, arrays(trained))
    deployed = load_net(parse_net(deploy_text(net)))
    deployed.load_weights(blobs)
    data = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    before = trained({"data": data, "label": torch.zeros(2, 30, 8, 8)}, blobs=list(net.outputs))
    after = deployed(data, blobs=list(net.outputs))
    for name in net.outputs:
        assert (after[name] - before[name]).abs().max() <= 10 * SAME * before[name].abs().max(), name


def test_arrays_that_are_missing_are_named() -> None:
    net = seeded(f'{INPUT}layer {{ name: "a" bottom: "data" top: "a" {LAYERS["convolution"]} }}\n{NORM}')
    blobs = arrays(net)
    del blobs["norm"]
    with pytest.raises(WeightsError, match="layer 'norm': expected 3 arrays to fold, got 0"):
        fold_batch_norm(net.spec, blobs)


def test_arrays_of_layers_that_the_net_lacks_are_refused_not_dropped() -> None:
    text = f'{INPUT}layer {{ name: "a" bottom: "data" top: "a" {LAYERS["convolution"]} }}\n'
    with pytest.raises(WeightsError, match="lacks 1: norm"):
        fold_batch_norm(parse_net(text), arrays(seeded(text + NORM)))
