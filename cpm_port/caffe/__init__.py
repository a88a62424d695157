"""Caffe's files and nets as plain Python and NumPy: schema -> files -> upgrades -> NetSpec -> shapes. No torch here."""

from __future__ import annotations

from cpm_port.caffe.binary import CaffeModel, StoredBlob, read_model
from cpm_port.caffe.files import (
    SolverState,
    Weights,
    format_prototxt,
    read_mean,
    read_net,
    read_solverstate,
    read_weights,
    write_mean,
    write_prototxt,
    write_solverstate,
    write_weights,
)
from cpm_port.caffe.netspec import parse_net, snapshot_message, snapshot_net, spec_of
from cpm_port.caffe.schema import DIALECTS, message_class
from cpm_port.caffe.shapes import infer_shapes, layer_flops, layer_shapes, param_shapes, spatial_window
from cpm_port.caffe.solverspec import SolverSpec, parse_solver, read_solver
from cpm_port.caffe.spec import PLAIN_STATE, LayerSpec, NetSpec, NetState, ParamSpec
from cpm_port.caffe.view import MessageView

__all__ = [
    "DIALECTS",
    "PLAIN_STATE",
    "CaffeModel",
    "LayerSpec",
    "MessageView",
    "NetSpec",
    "NetState",
    "ParamSpec",
    "SolverSpec",
    "SolverState",
    "StoredBlob",
    "Weights",
    "format_prototxt",
    "infer_shapes",
    "layer_flops",
    "layer_shapes",
    "message_class",
    "param_shapes",
    "parse_net",
    "parse_solver",
    "read_mean",
    "read_model",
    "read_net",
    "read_solver",
    "read_solverstate",
    "read_weights",
    "snapshot_message",
    "snapshot_net",
    "spatial_window",
    "spec_of",
    "write_mean",
    "write_prototxt",
    "write_solverstate",
    "write_weights",
]
