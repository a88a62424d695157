"""NetSpec writes the nets that pycaffe's does.

Oracles: the claims of upstream's test_net_spec.py; messages written by hand; for the release's training and deploy nets
(its genProto.py, whose steps are followed here) the released files and our own generator, which is held to them.
"""
# ruff: noqa: C408 - written as pycaffe code is

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

import cpm_port.pycaffe as caffe
from cpm_port.caffe import message_class, parse_net, read_net
from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.errors import LayerError
from cpm_port.models import TrainingData, architecture, train_text
from cpm_port.pycaffe import layers as L
from cpm_port.pycaffe import net_spec
from cpm_port.pycaffe import params as P
from cpm_port.pycaffe.proto import caffe_pb2
from tests.models.test_prototxt import assert_same_structure, structure, values
from tests.pycaffe.support import write


def lenet(n: Any) -> Any:
    """Fill `n`, a NetSpec or any namespace, with a small digit net; return its loss."""
    n.data, n.label = L.DummyData(shape=[dict(dim=[4, 1, 28, 28]), dict(dim=[4, 1, 1, 1])], ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=10, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label)
    return n.loss


class Anonymous:
    """Holds tops without naming them."""


@pytest.mark.parametrize("named", [True, False])
def test_a_digit_net_is_written_and_loads(named: bool, tmp_path: Path) -> None:
    spec: Any = caffe.NetSpec() if named else Anonymous()
    loss = lenet(spec)
    proto = spec.to_proto() if named else loss.to_proto()
    relu = proto.layer[4]
    assert relu.type == "ReLU"
    assert relu.bottom == relu.top
    names = [layer.name for layer in proto.layer]
    if named:
        assert names == ["data", "conv1", "pool1", "ip1", "relu1", "loss"]
    else:
        assert names == ["DummyData1", "Convolution1", "Pooling1", "InnerProduct1", "ReLU1", "SoftmaxWithLoss1"]
        assert proto.layer[0].top == ["DummyData1", "DummyData2"]
    net = caffe.Net(write(tmp_path, str(proto)), caffe.TEST)
    assert len(net.layers) == 6
    assert set(net.forward()) == {"loss" if named else "SoftmaxWithLoss1"}


def test_layers_without_tops_are_written(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data, n.data2 = L.DummyData(shape=dict(dim=3), ntop=2)
    n.quiet, n.quiet2 = L.Silence(n.data, ntop=0), L.Silence(n.data2, ntop=0)
    proto = n.to_proto()
    assert [(layer.name, list(layer.top)) for layer in proto.layer[1:]] == [("quiet", []), ("quiet2", [])]
    assert caffe.Net(write(tmp_path, str(proto)), caffe.TEST).forward() == {}


def test_an_input_that_is_no_top_is_a_type_error() -> None:
    data = L.DummyData(shape=dict(dim=3), ntop=2)
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"):
        L.Silence(data, ntop=0)


def test_fields_go_where_pycaffe_puts_them() -> None:
    top = L.Convolution(
        L.Input(shape=dict(dim=[1, 3, 8, 8])),
        kernel_size=[3, 5], num_output=2, pad=1, group=1, bias_term=False, engine=P.Convolution.CAFFE,
        weight_filler=dict(type="gaussian", std=0.5),
        param=[dict(lr_mult=1, decay_mult=1), dict(name="shared", lr_mult=2)],
        loss_weight=[0.5], include=dict(phase=caffe.TEST, stage=["a", "b"]), propagate_down=[True],
    )  # fmt: skip
    expected = caffe_pb2.NetParameter()
    text_format.Merge(
        """
        layer { name: "Input1" type: "Input" top: "Input1" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "Convolution1" type: "Convolution" bottom: "Input1" top: "Convolution1" loss_weight: 0.5
          param { lr_mult: 1 decay_mult: 1 } param { name: "shared" lr_mult: 2 } propagate_down: true
          include { phase: TEST stage: "a" stage: "b" }
          convolution_param { kernel_size: 3 kernel_size: 5 num_output: 2 pad: 1 group: 1 bias_term: false
            engine: CAFFE weight_filler { type: "gaussian" std: 0.5 } } }""",
        expected,
    )
    assert top.to_proto() == expected


def test_a_messages_field_is_assigned_by_hand_too() -> None:
    net = caffe_pb2.NetParameter()
    net_spec.assign_proto(net, "input_shape", dict(dim=[1, 2]))
    assert [list(shape.dim) for shape in net.input_shape] == [[1, 2]]


@pytest.mark.parametrize("dialect", ["bvlc", "cpm"])
def test_every_field_of_every_layer_types_message_is_written_and_read_back(dialect: str) -> None:
    layer_fields = message_class("LayerParameter", dialect).DESCRIPTOR.fields
    for field in layer_fields:
        if not field.name.endswith("_param"):
            continue
        values = {f.name: sample(f) for f in field.message_type.fields if not f.name.startswith("_")}
        message = L.Anything(**{field.name: values}).to_proto()
        layer = message_class("NetParameter", dialect)()
        text_format.Merge(str(message), layer)
        assert str(layer) == str(message)
        found = getattr(layer.layer[0], field.name)
        assert [f.name for f, _ in found.ListFields()] == sorted(values, key=lambda n: number(field, n)), field.name
        kind = field.message_type.name.removesuffix("Parameter")
        if kind in LAYER_TYPES and not any(name.endswith("param") for name in values):
            direct = getattr(L, kind)(**values).to_proto().layer[0]
            assert str(getattr(direct, field.name)) == str(found)


def sample(field: Any) -> Any:
    """Return a value that pycaffe code would give a field: dicts for messages, lists for repeated fields."""
    from cpm_port.caffe.text import is_repeated

    if field.message_type is not None:
        inside = {f.name: sample(f) for f in field.message_type.fields if not f.name.startswith("_")}
        return [inside, inside] if is_repeated(field) else inside
    value: Any = {"bool": True, "string": "a", "float": 0.5, "double": 0.5}.get(kind_of(field), 1)
    return [value, value] if is_repeated(field) else value


def kind_of(field: Any) -> str:
    return {8: "bool", 9: "string", 12: "string", 2: "float", 1: "double"}.get(field.type, "int")


def number(field: Any, name: str) -> int:
    return int(field.message_type.fields_by_name[name].number)


def test_the_names_of_messages_are_those_of_layer_types() -> None:
    names = net_spec.param_name_dict()
    assert names["Convolution"] == "convolution"
    assert names["BatchNorm"] == "batch_norm"
    assert names["CPMData"] == "cpmdata"
    assert P.CPMData.LMDB == 1
    assert P.Eltwise.SUM == caffe_pb2.EltwiseParameter.SUM


@pytest.mark.parametrize(("fields", "problem"), [
    (dict(kernel=3), "ConvolutionParameter|LayerParameter has no field 'kernel'"),
    (dict(num_output="many"), "num_output cannot be 'many'"),
    (dict(weight_filler=3), "weight_filler is 3; expected a dict"),
])  # fmt: skip
def test_a_wrong_field_is_named_with_its_layer(fields: dict[str, Any], problem: str) -> None:
    n = caffe.NetSpec()
    n.conv = L.Convolution(L.Input(), **fields)
    with pytest.raises(LayerError, match=f"'conv'.*{problem}"):
        n.to_proto()


def test_an_enum_of_no_message_is_said_to_be_missing() -> None:
    with pytest.raises(NotImplementedError, match="NoSuchThing"):
        P.NoSuchThing.MAX  # noqa: B018


def test_the_forks_messages_are_there_too() -> None:
    n = caffe.NetSpec()
    n.maps = L.Input(shape=dict(dim=[1, 2, 4, 4]))
    n.prior = L.PriorBox(n.maps, min_size=8, img_size=32, aspect_ratio=[2, 3], flip=True)
    n.found = L.DetectionOutput(n.maps, n.maps, n.prior, detection_output_param=dict(
        num_classes=3, code_type=P.PriorBox.CENTER_SIZE, nms_param=dict(nms_threshold=0.5)
    ))  # fmt: skip
    prior, found = n.to_proto().layer[1:]
    assert (list(prior.prior_box_param.aspect_ratio), prior.prior_box_param.flip) == ([2, 3], True)
    assert found.detection_output_param.code_type == caffe_pb2.DetectionOutputParameter.CENTER_SIZE
    labels = caffe_pb2.LabelMap()
    text_format.Merge('item { name: "n01" label: 1 display_name: "dog" }', labels)
    assert [(item.label, item.display_name) for item in labels.item] == [(1, "dog")]


# The release's genProto.py: its steps, for the six-stage MPI net


def pose_net(deploy: bool) -> str:
    """Follow the release's script: a first stage, a second with its own image features, four more that share them."""
    n = caffe.NetSpec()
    if deploy:
        n.data = L.Layer()  # taken out of the text again
    else:
        transform = dict(
            stride=8, crop_size_x=368, crop_size_y=368, target_dist=1.171, scale_prob=1, scale_min=0.7, scale_max=1.3,
            max_rotate_degree=40, center_perterb_max=0, do_clahe=False,
        )  # fmt: skip
        n.data, n.tops["label"] = L.CPMData(
            cpmdata_param=dict(backend=1, source="lmdb", batch_size=16), transform_param=transform, ntop=2
        )
        n.tops["label_lower"], n.tops["label_1st_lower"] = L.Slice(
            n.label, slice_param=dict(axis=1, slice_point=15), ntop=2
        )
    n.image, n.center_map = L.Slice(n.data, slice_param=dict(axis=1, slice_point=3), ntop=2)
    n.pool_center_lower = L.Pooling(n.center_map, kernel_size=9, stride=8, pool=P.Pooling.AVE)

    def conv(name: str, kernel: int, channels: int, bottom: str, rate: int, relu: bool = True) -> str:
        n.tops[name] = L.Convolution(
            n.tops[bottom], kernel_size=kernel, num_output=channels, pad=kernel // 2,
            param=[dict(lr_mult=rate, decay_mult=1), dict(lr_mult=rate * 2, decay_mult=0)],
            weight_filler=dict(type="gaussian", std=0.01), bias_filler=dict(type="constant"),
        )  # fmt: skip
        if not relu:
            return name
        n.tops[name.replace("conv", "relu")] = L.ReLU(n.tops[name], in_place=True)
        return name.replace("conv", "relu")

    shared = last = before = ""
    for stage in range(1, 7):
        rate = 5 if stage == 1 else 1
        last, count = "image", 1
        if stage <= 2:
            for count in (1, 2, 3):
                last = conv(f"conv{count}_stage{stage}", 9, 128, last, rate)
                n.tops[f"pool{count}_stage{stage}"] = L.Pooling(
                    n.tops[last], kernel_size=3, stride=2, pool=P.Pooling.MAX
                )
                last = f"pool{count}_stage{stage}"
            count = 4
        if stage == 1:
            last = conv("conv4_stage1", 5, 32, last, rate)
            for number, (kernel, channels) in enumerate(((9, 512), (1, 512)), 5):
                last = conv(f"conv{number}_stage1", kernel, channels, last, rate)
                if not deploy:
                    n.tops[f"drop{number - 4}_stage1"] = L.Dropout(
                        n.tops[last], in_place=True, dropout_param=dict(dropout_ratio=0.5)
                    )
            last = conv("conv7_stage1", 1, 15, last, rate, relu=False)
        else:
            shared = shared or last
            last = conv(f"conv{count}_stage{stage}", 5, 32, shared, rate)
            n.tops[f"concat_stage{stage}"] = L.Concat(
                n.tops[last], n.tops[before], n.pool_center_lower, concat_param=dict(axis=1)
            )
            last = f"concat_stage{stage}"
            for number, kernel in enumerate((11, 11, 11, 1), 1):
                last = conv(f"Mconv{number}_stage{stage}", kernel, 128, last, rate)
            last = conv(f"Mconv5_stage{stage}", 1, 15, last, rate, relu=False)
        if not deploy:
            label = "label_1st_lower" if stage == 1 else "label_lower"
            n.tops[f"loss_stage{stage}"] = L.EuclideanLoss(n.tops[last], n.tops[label])
        before = last
    text = str(n.to_proto())
    if not deploy:
        return text
    header = 'input: "data"\n' + "".join(f"input_dim: {size}\n" for size in (1, 4, 368, 368))
    return header + "layer {" + "layer {".join(text.split("layer {")[2:])


def test_the_releases_own_script_writes_the_released_deploy_net(shared: Path) -> None:
    ours = parse_net(pose_net(deploy=True))
    assert_same_structure(ours, read_net(shared / "release" / "prototxt" / "mpi_pose_deploy_centerMap.prototxt"))


def test_the_releases_own_script_writes_the_training_net() -> None:
    for phase in ("TRAIN", "TEST"):
        ours = parse_net(pose_net(deploy=False), phase=phase)
        assert ours.dialect == "cpm"
        theirs = parse_net(train_text(architecture("mpi"), TrainingData("lmdb", batch_size=16)), phase=phase)
        # our generator writes all losses last, and no Dropout
        rows, expected = ({row[0]: row for row in values(structure(net, skip=("Dropout",)))} for net in (ours, theirs))
        assert rows == expected
