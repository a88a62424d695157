"""A NetSpec as PyTorch: one small module per Caffe layer type, the net around them, and weights in and out.

`load_net` is the entry; `register` adds layer types (see `registry.py`). Reading files is
`cpm_port.caffe`'s job.
"""

from __future__ import annotations

import cpm_port.graph.layers  # noqa: F401 - registers every layer type
from cpm_port.caffe.layer_types import POINTWISE, WHOLE, Field
from cpm_port.graph.build import load_net
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.net import CaffeNet, Step
from cpm_port.graph.registry import register, supported_types, unsupported_layers
from cpm_port.graph.sharing import ParamInfo
from cpm_port.graph.sources import DATA_TYPES, is_source
from cpm_port.graph.weights import WeightsReport

__all__ = [
    "DATA_TYPES",
    "POINTWISE",
    "WHOLE",
    "CaffeNet",
    "Field",
    "LayerModule",
    "ParamInfo",
    "Shape",
    "Step",
    "WeightsReport",
    "is_source",
    "load_net",
    "register",
    "supported_types",
    "unsupported_layers",
]
