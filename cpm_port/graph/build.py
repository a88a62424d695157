"""load_net: prototxt and weights to a net that runs; the front door of the graph room."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from cpm_port.caffe import NetSpec, read_net
from cpm_port.graph.module import Shape
from cpm_port.graph.net import CaffeNet
from cpm_port.graph.weights import Source

__all__ = ["load_net"]


def load_net(
    prototxt: str | os.PathLike[str] | NetSpec,
    weights: Source | None = None,
    *,
    phase: str = "TEST",
    device: str | torch.device = "cpu",
    strict: bool = True,
    input_shapes: Mapping[str, Shape] | None = None,
) -> CaffeNet:
    """Build a Caffe net and give its parameters their values.

    Parameters
    ----------
    prototxt : path-like or NetSpec
        The net; a .caffemodel also holds one. A NetSpec brings its own phase.
    weights : path-like or mapping, optional
        .caffemodel, .caffemodel.h5, .safetensors, or layer name -> arrays. Without, the fillers run.
    phase : {"TEST", "TRAIN"}
        Which layers the net has, and what Dropout and BatchNorm do.
    device : str or torch.device
        Where the parameters go.
    strict : bool
        Whether layers that the weights lack are an error; otherwise their fillers run. Source layers that the net lacks
        are ignored either way, as Caffe does; `net.weights_report` lists both.
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
        Layer types without a builder, all of them.
    LayerError, ShapeError
        Layers that contradict themselves or each other.
    WeightsError
        Weights that do not fit the net.
    """
    spec = prototxt if isinstance(prototxt, NetSpec) else read_net(prototxt, phase=phase)
    net = CaffeNet(spec, input_shapes)
    if weights is None:
        net.fill()
    else:
        net.fill(net.load_weights(weights, strict=strict).missing)
    return net.to(device)
