"""Types with a table or matrix of weights over whole vectors: InnerProduct, Embed; and Parameter, the weights alone."""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, axis_of, declare, need_bottoms
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []


def _inner_product(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param = layer.params.inner_product_param
    axis = axis_of(layer, param.axis, bottoms[0])
    return [(*bottoms[0][:axis], param.num_output)]


def _inner_product_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.inner_product_param
    inputs = math.prod(bottoms[0][axis_of(layer, param.axis, bottoms[0]) :])
    weight = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    return [weight, *([(param.num_output,)] if param.bias_term else [])]


def _embed(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    return [(*bottoms[0], layer.params.embed_param.num_output)]


def _embed_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.embed_param
    return [(param.input_dim, param.num_output), *([(param.num_output,)] if param.bias_term else [])]


def _inner_product_flops(layer: LayerSpec, bottoms: list[Shape]) -> int:
    weight, *bias = _inner_product_params(layer, bottoms)
    (top,) = _inner_product(layer, bottoms)
    return 2 * math.prod(weight) * math.prod(top[:-1]) + (math.prod(top) if bias else 0)


def _parameter(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 0)
    return [tuple(layer.params.parameter_param.shape.dim)]


declare(
    LayerType("Embed", _embed, _embed_params),
    LayerType("InnerProduct", _inner_product, _inner_product_params, flops=_inner_product_flops),
    LayerType("Parameter", _parameter, _parameter),
)
