"""The registry: what it knows, what it refuses, and a layer type of a user's own."""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cpm_port.caffe import MessageView, infer_shapes, parse_net, schema
from cpm_port.caffe.layer_types import LAYER_TYPES, Fields
from cpm_port.errors import LayerError, UnsupportedLayerError, UsageError
from cpm_port.graph import (
    POINTWISE,
    LayerModule,
    Shape,
    load_net,
    register,
    registry,
    supported_types,
    unsupported_layers,
)
from cpm_port.report.inspect import inspect_net
from cpm_port.report.inspect_text import inspect_text

PLUGGED = """
input: "data" input_shape { dim: 2 dim: 3 dim: 4 dim: 5 }
layer { name: "shift" type: "ChannelShift" bottom: "data" top: "data_shifted" param { lr_mult: 3 } }
layer { name: "relu" type: "ReLU" bottom: "data_shifted" top: "out" }
"""


@pytest.fixture
def own_entries() -> Iterator[None]:
    tables: tuple[dict[str, Any], ...] = (registry._ENTRIES, LAYER_TYPES, schema._declared, schema._made)
    before = [{key: copy.copy(value) for key, value in table.items()} for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture
def channel_shift(own_entries: None) -> type[LayerModule]:
    @register("ChannelShift")
    class ChannelShift(LayerModule):
        def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return bottom_shapes

        def param_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return [(bottom_shapes[0][1],)]

        def fillers(self) -> list[MessageView | float]:
            return [0.5]

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x + self.blob(0)[:, None, None],)

    return ChannelShift


def test_a_users_layer_type_runs_trains_saves_and_reshapes(channel_shift: type[LayerModule]) -> None:
    net = load_net(parse_net(PLUGGED))
    assert isinstance(net.get_submodule("shift"), channel_shift)
    data = torch.full((1, 3, 2, 2), -0.25)
    assert torch.equal(net(data)["out"], torch.full((1, 3, 2, 2), 0.25))
    assert net.blob_shapes["out"] == (1, 3, 2, 2)
    net(data)["out"].sum().backward()
    (info,) = net.param_info()
    assert (info.layer, info.lr_mult) == ("shift", 3.0)
    assert torch.equal(info.tensor.grad, torch.full((3,), 4.0))  # type: ignore[arg-type]
    loaded = load_net(parse_net(PLUGGED), {"shift": [torch.arange(3.0)]})
    assert torch.equal(loaded(torch.zeros(1, 3, 1, 1))["out"].flatten(), torch.arange(3.0))


def test_a_users_layer_type_is_inspected_as_fully_as_ours(own_entries: None) -> None:
    @register("ChannelShift")
    class ChannelShift(LayerModule):
        def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return bottom_shapes

        def param_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return [(bottom_shapes[0][1],)]

        def flops(self, bottom_shapes: list[Shape]) -> int:
            return math.prod(bottom_shapes[0])

        def sees(self, bottom_shapes: list[Shape]) -> Fields:
            return POINTWISE

    report = inspect_net(parse_net(PLUGGED))
    row = report["layers"][1]
    assert (row["shapes"], row["parameter_shapes"]) == ([[2, 3, 4, 5]], [[3]])
    assert row["flops"] == report["flops"] == 2 * 3 * 4 * 5
    assert report["parameters"] == 3
    assert report["memory"]["weights_bytes"] == 12
    assert (report["flops_untold"], report["shapes_unknown"], report["unsupported"]) == ([], [], [])
    assert report["outputs"] == [{"blob": "out", "shape": [2, 3, 4, 5], "receptive_field": [1, 1]}]
    assert infer_shapes(parse_net(PLUGGED))["out"] == (2, 3, 4, 5)


def test_the_registrys_example_runs_and_is_inspected(own_entries: None) -> None:
    example = str(registry.__doc__).split("    import math\n")[1].split("\nA layer with parameters")[0]
    code = textwrap.dedent(f"    import math\n{example}")
    exec(compile(code, "registry.py", "exec", dont_inherit=True), {"__name__": "example"})
    spec = parse_net(PLUGGED.replace("ChannelShift", "HardSwish").replace("param { lr_mult: 3 }", ""))
    x = torch.randn(1, 3, 4, 5)
    assert torch.equal(load_net(spec)(x)["out"], torch.nn.functional.hardswish(x).relu())
    report = inspect_net(spec)
    assert report["flops"] == 4 * 2 * 3 * 4 * 5
    assert report["outputs"][0]["receptive_field"] == [1, 1]


def test_what_a_users_layer_type_does_not_tell_is_said(channel_shift: type[LayerModule]) -> None:
    report = inspect_net(parse_net(PLUGGED))
    assert report["layers"][1]["flops"] is None
    assert (report["flops"], report["flops_untold"]) == (0, ["ChannelShift"])
    assert report["outputs"] == [{"blob": "out", "shape": [2, 3, 4, 5], "receptive_field": "unknown"}]
    text = inspect_text({"file": "f", "kind": "net", "bytes": 0, **report})
    assert "not counted: layers of type ChannelShift, which do not tell their FLOPs" in text


def test_a_users_layer_type_without_shapes_is_named(own_entries: None) -> None:
    register("ChannelShift")(LayerModule)
    message = "layer 'shift': its module LayerModule has no top_shapes, and its type 'ChannelShift' no other shape rule"
    with pytest.raises(UnsupportedLayerError, match=message):
        load_net(parse_net(PLUGGED))
    assert inspect_net(parse_net(PLUGGED))["shapes_unknown"] == [message]


def test_a_users_loss_counts_in_the_total_and_needs_no_top(own_entries: None) -> None:
    @register("HalfSum", loss=True)
    class HalfSum(LayerModule):
        def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return [()]

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x.sum() / 2,)

    text = 'input: "x" input_shape { dim: 4 } layer { name: "l" type: "HalfSum" bottom: "x" }'
    net = load_net(parse_net(text))
    assert float(net.total_loss(net(torch.ones(4)))) == 2.0


def test_a_users_layer_type_has_fields_of_its_own(own_entries: None) -> None:
    @register("Leaky", fields="enum Side UP=0 DOWN=1\nslope 1 float 0.5, side 2 Side DOWN", number=10_500)
    class Leaky(LayerModule):
        message = "leaky_param"

        def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
            return bottom_shapes

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x * self.fields.slope if self.fields.side == "DOWN" else x,)

    text = 'input: "x" input_shape {{ dim: 1 }} layer {{ name: "l" type: "Leaky" bottom: "x" top: "y" {} }}'
    for fields, expected in (("", 0.5), ("leaky_param { slope: 3 }", 3.0), ("leaky_param { side: UP }", 1.0)):
        spec = parse_net(text.format(fields))
        assert spec.notes == parse_net(text.format("")).notes
        assert load_net(spec)(torch.ones(1))["y"].item() == expected
    for dialect in schema.DIALECTS:
        assert schema.message_class("LayerParameter", dialect).DESCRIPTOR.fields_by_name["leaky_param"].number == 10_500


@pytest.mark.parametrize(
    ("message", "number", "complaint"),
    [
        ("relu_param", 10_500, "message 'ReluParameter'|'relu_param'"),
        ("norm_param", 10_500, "a field 'norm_param'"),
        ("other_param", 147, "number 147 is there already"),
    ],
)
def test_a_users_fields_must_not_clash(own_entries: None, message: str, number: int, complaint: str) -> None:
    class Other(LayerModule):
        pass

    Other.message = message
    with pytest.raises(UsageError, match=complaint):
        register("Other", fields="slope 1 float 0.5", number=number)(Other)


def test_inspect_says_where_every_type_is_from(own_entries: None) -> None:
    register("ChannelShift")(LayerModule)
    text = (
        PLUGGED
        + """
        layer { name: "n" type: "Normalize" bottom: "data" top: "n" }
        layer { name: "odd" type: "Odd" bottom: "data" top: "odd" }"""
    )
    report = inspect_net(parse_net(text))
    origins = {layer["type"]: layer["origin"] for layer in report["layers"]}
    assert origins == {
        "Input": "upstream", "ChannelShift": "cpm_port.graph.module", "ReLU": "upstream", "Normalize": "SSD fork",
        "Odd": "unknown",
    }  # fmt: skip
    shown = inspect_text({"file": "f", "kind": "net", "bytes": 0, **report})
    assert (
        "types that upstream Caffe does not have:\n  ChannelShift: cpm_port.graph.module\n  Normalize: SSD fork"
        in shown
    )


def test_every_supported_type_has_its_entry() -> None:
    assert set(supported_types()) <= set(LAYER_TYPES)


def test_without_its_registration_the_type_is_unsupported() -> None:
    with pytest.raises(UnsupportedLayerError, match="layer 'shift': type 'ChannelShift': unknown type"):
        load_net(parse_net(PLUGGED))


def test_a_type_registered_twice_is_refused(own_entries: None) -> None:
    with pytest.raises(LayerError, match="layer type 'ReLU': registered already"):
        register("ReLU")(lambda spec, shapes: LayerModule(spec, shapes))


def test_a_variant_may_be_refused_with_its_reason(own_entries: None) -> None:
    register("Odd", refuse=lambda spec: "no tops" if not spec.tops else None)(LayerModule)
    layers = parse_net("""
        input: "data" input_shape { dim: 1 }
        layer { name: "a" type: "Odd" bottom: "data" }
        layer { name: "b" type: "Odd" bottom: "data" top: "b" }
        layer { name: "c" type: "Even" bottom: "data" top: "c" }""").layers
    assert unsupported_layers(layers) == [("a", "Odd", "no tops"), ("c", "Even", "unknown type")]


SOURCES = """
layer { name: "rpn" type: "OPData" top: "data" top: "info" op_param { batch: 3 } }
layer { name: "py" type: "PythonData" top: "label" include { phase: TEST } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "out" }
"""


def test_a_layer_of_an_unknown_type_without_bottoms_is_an_input() -> None:
    spec = parse_net(SOURCES)
    shapes = {"data": (1, 2), "info": (1, 3), "label": (4,)}
    net = load_net(spec, input_shapes=shapes)
    assert net.inputs == shapes
    assert infer_shapes(spec, shapes)["out"] == (1, 2)
    values = {name: torch.full(shape, -1.0) for name, shape in shapes.items()}
    assert net(values)["out"].tolist() == [[0.0, 0.0]]
    report = inspect_net(spec, shapes)
    assert (report["unsupported"], report["shapes_unknown"]) == ([], [])
    for told in ({}, {"data": (1, 2)}):
        with pytest.raises(
            LayerError, match="type 'OPData' is unknown; without bottoms, its tops are inputs of the net"
        ):
            load_net(spec, input_shapes=told)
    assert "give the shapes of data, info in input_shapes" in inspect_net(spec)["shapes_unknown"][0]


def test_the_supported_types_include_sources_and_all_that_cpm_nets_use() -> None:
    types = supported_types()
    assert list(types) == sorted(types)
    assert {"Input", "CPMData", "Convolution", "ReLU", "Pooling", "Concat", "Slice", "EuclideanLoss"} <= set(types)


def test_a_builder_is_found_by_type_only() -> None:
    (layer,) = (layer for layer in parse_net(PLUGGED).layers if layer.type == "ChannelShift")
    with pytest.raises(UnsupportedLayerError, match="type 'ChannelShift' has no builder"):
        registry.builder_of(layer)
