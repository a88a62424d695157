"""Types that walk through time: RNN and LSTM over whole sequences, LSTMUnit one step of an LSTM.

A sequence blob has the axes (time, streams, ...); `cont` (time, streams) is 0 where a stream begins anew. *Source*:
BVLC/caffe@9b89154 src/caffe/layers/{recurrent,rnn,lstm,lstm_unit}_layer.cpp.
"""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail, need_bottoms
from cpm_port.caffe.spec import LayerSpec

__all__ = ["has_static_input"]

_STATES = {"RNN": 1, "LSTM": 2}  # what is handed from step to step: h; h and c
_GATES = {"RNN": 1, "LSTM": 4}


def has_static_input(layer: LayerSpec) -> bool:
    """Tell whether an RNN or LSTM has a bottom that is the same at every step."""
    return len(layer.bottoms) > 2 + _exposed(layer)


def _exposed(layer: LayerSpec) -> int:
    return _STATES[layer.type] if layer.params.recurrent_param.expose_hidden else 0


def _recurrent(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    exposed, outputs = _exposed(layer), layer.params.recurrent_param.num_output
    need_bottoms(layer, bottoms, 2 + exposed, 3 + exposed)
    x, cont = bottoms[:2]
    if outputs < 1:
        raise fail(layer, f"num_output is {outputs}; expected at least 1")
    if len(x) < 2 or cont != x[:2]:
        raise fail(layer, f"bottoms {bottoms}; expected (time, streams, ...) and (time, streams)")
    if has_static_input(layer) and bottoms[2][:1] != x[1:2]:
        raise fail(layer, f"static input of shape {bottoms[2]} for {x[1]} streams")
    state = (1, x[1], outputs)
    for shape in bottoms[len(bottoms) - exposed :]:
        if shape != state:
            raise fail(layer, f"first hidden state of shape {shape}; expected {state}")
    return [(*x[:2], outputs), *[state] * exposed]


def _recurrent_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    outputs = layer.params.recurrent_param.num_output
    rows = _GATES[layer.type] * outputs
    shapes: list[Shape] = [(rows, math.prod(bottoms[0][2:])), (rows,)]
    if has_static_input(layer):
        shapes.append((rows, math.prod(bottoms[2][1:])))
    shapes.append((rows, outputs))
    return shapes if layer.type == "LSTM" else [*shapes, (outputs, outputs), (outputs,)]


def _recurrent_flops(layer: LayerSpec, bottoms: list[Shape]) -> int:
    shapes = _recurrent_params(layer, bottoms)
    steps, streams = bottoms[0][:2]
    every_step = sum(2 * math.prod(shape) if len(shape) == 2 else shape[0] for shape in shapes)
    once = 2 * math.prod(shapes[2]) if has_static_input(layer) else 0
    return streams * (steps * (every_step - once) + once)


def _lstm_unit(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 3)
    cell, gates, cont = bottoms
    if len(cell) != 3 or cell[0] != 1 or gates != (*cell[:2], 4 * cell[2]) or cont != cell[:2]:
        raise fail(layer, f"bottoms {bottoms}; expected (1, streams, cells), (1, streams, 4 x cells), (1, streams)")
    return [cell, cell]


declare(
    LayerType("LSTM", _recurrent, _recurrent_params, _recurrent_flops),
    LayerType("LSTMUnit", _lstm_unit),
    LayerType("RNN", _recurrent, _recurrent_params, _recurrent_flops),
)
