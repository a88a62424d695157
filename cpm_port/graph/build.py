"""load_net: prototxt and weights to a net that runs; the entry of the graph room."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cpm_port.caffe import NetSpec, read_net
from cpm_port.caffe.files import is_prototxt
from cpm_port.errors import UsageError
from cpm_port.formats import safetensors
from cpm_port.graph.module import Shape
from cpm_port.graph.net import CaffeNet
from cpm_port.graph.weights import Source

__all__ = ["load_net"]


def load_net(
    prototxt: str | os.PathLike[str] | NetSpec,
    weights: Source | None = None,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    device: str | torch.device = "cpu",
    strict: bool = True,
    input_shapes: Mapping[str, Shape] | None = None,
) -> CaffeNet:
    """Build a Caffe net and give its parameters their values.

    Parameters
    ----------
    prototxt : path-like or NetSpec
        The net. A .caffemodel, or a .safetensors file of ours, holds one too, and gives the weights as well where
        there are no others. A NetSpec brings its own phase, level and stages.
    weights : path-like or mapping, optional
        .caffemodel, .caffemodel.h5, .safetensors, or layer name -> arrays. Without, the fillers run where the net is
        text.
    phase : {"TEST", "TRAIN"}
        Which layers the net has, and what Dropout and BatchNorm do.
    level : int
        The net state's level, for the rules `min_level` and `max_level`.
    stages : sequence of str
        The net state's stages, beside those of the file's own `state`.
    device : str or torch.device
        Where the parameters go.
    strict : bool
        Whether layers that the weights lack are an error; otherwise their fillers run. Source layers that the net lacks
        are ignored either way, as Caffe does; `net.weights_report` lists both. And whether fields that the schema lacks
        and that may change what a layer computes are an error; otherwise they are a warning.
    input_shapes : mapping of str to tuple of int, optional
        Shapes of inputs that the prototxt does not tell: tops of data layers that read them from their files.

    Returns
    -------
    CaffeNet

    Raises
    ------
    MissingFileError, CaffeFormatError
        A file is absent or not what it should be.
    UnsupportedLayerError
        Layer types without a builder, and fields of unknown meaning, all of them.
    LayerError, ShapeError
        Layers that contradict themselves or each other.
    WeightsError
        Weights that do not fit the net.

    Examples
    --------
    >>> from cpm_port import load_net
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = load_net(parse_net(deploy_text(architecture("flic", width=4))))
    >>> net.inputs, net.spec.outputs
    ({'data': (1, 4, 368, 368)}, ('Mconv5_stage4',))
    """
    if isinstance(prototxt, NetSpec):
        spec = prototxt
    elif Path(prototxt).suffix.lower() == ".safetensors":
        model = safetensors.read(Path(prototxt))
        if model.net is None:
            raise UsageError(f"{os.fspath(prototxt)}: holds no net; give the prototxt first, then these weights")
        spec, weights = model.net, model.blobs if weights is None else weights
    else:
        spec = read_net(prototxt, phase=phase, level=level, stages=stages)
        if weights is None and not is_prototxt(prototxt):
            weights = prototxt
    net = CaffeNet(spec, input_shapes, strict=strict)
    if any(parameter.is_meta for parameter in net.parameters()):  # under `torch.device("meta")`: shapes without values
        return net
    if weights is None:
        net.fill()
    else:
        net.fill(net.load_weights(weights, strict=strict).missing)
    return net.to(device)
