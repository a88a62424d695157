"""Dialects are told apart by content and can be overridden; a wrong one never makes a read fail.

Oracle: files written with one dialect's message classes, whose numbers `test_schema.py` holds.
"""

import pytest

from cpm_port.caffe import message_class, parse_net, read_model, read_net, read_weights
from tests.caffe.support import field, layer, number_field, shared_files

TRAIN = """layer { name: "data" type: "CPMData" top: "data" top: "label"
  cpmdata_param { source: "lmdb" batch_size: 8 backend: LMDB }
  transform_param { stride: 8 max_rotate_degree: 40 crop_size_x: 368 visualize: false } }"""


def snapshot(dialect: str, *, transform: bool = True) -> bytes:
    """Return a binary training net of the fork, with one weight."""
    net = message_class("NetParameter", dialect)(name="pose")
    data = net.layer.add(name="data", type="CPMData", top=["data", "label"])
    data.cpmdata_param.source = "lmdb"
    data.cpmdata_param.batch_size = 8
    if transform:
        data.transform_param.stride = 8
        data.transform_param.scale_cvg = 0.5
        data.transform_param.num_parts = 14
    conv = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    blob = conv.blobs.add(data=[1.0, 2.0])
    blob.shape.dim.append(2)
    return net.SerializeToString()


@pytest.mark.parametrize("dialect", ["cpm", "cpm2015"])
@pytest.mark.parametrize("transform", [True, False])
def test_a_training_snapshot_of_the_fork_is_recognised(tmp_path, dialect, transform):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(snapshot(dialect, transform=transform))
    net = read_net(path)
    assert net.dialect == dialect
    assert net.layers[0].params.cpmdata_param.batch_size == 8
    assert net.layers[0].params.transform_param.stride == (8 if transform else 4)


@pytest.mark.parametrize("written", ["cpm", "cpm2015"])
@pytest.mark.parametrize("read", ["bvlc", "cpm", "cpm2015"])
def test_a_wrong_dialect_reads_the_weights_and_loses_nothing(tmp_path, written, read):
    path, copy = tmp_path / "net.caffemodel", tmp_path / "copy.caffemodel"
    path.write_bytes(snapshot(written))
    assert [list(array) for array in read_weights(path, dialect=read)["conv"]] == [[1.0, 2.0]]
    model = read_model(path, dialect=read)
    model.message.name = "renamed"
    model.message.layer[0].name = "renamed"  # so that the layer is encoded anew
    model.save(copy)
    again = read_net(copy, dialect=written)
    assert again.layers[0].params.cpmdata_param.source == "lmdb"
    assert again.layers[0].params.transform_param.num_parts == 14


def test_upstream_fields_at_the_shared_numbers_stay_upstream(tmp_path):
    net = message_class("NetParameter")()
    layer = net.layer.add(name="act", type="Swish", bottom=["x"], top=["y"])
    layer.swish_param.beta = 2.0
    net.layer.add(name="clip", type="Clip", bottom=["y"], top=["z"]).clip_param.max = 6.0
    net.layer.add(name="elu", type="ELU", bottom=["z"], top=["w"]).elu_param.alpha = 0.5
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    spec = read_net(path)
    assert spec.dialect == "bvlc"
    assert spec.layers[0].params.swish_param.beta == 2.0
    assert spec.layers[1].params.clip_param.max == 6.0


def test_upstream_force_color_is_not_taken_for_the_forks_stride(tmp_path):
    net = message_class("NetParameter")()
    net.layer.add(name="data", type="Data", top=["data"]).transform_param.force_color = True
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert read_net(path).dialect == "bvlc"


def test_another_forks_transform_fields_are_not_taken_for_this_forks(tmp_path):
    resize = field(8, number_field(1, 3))  # a message where the CPM fork has a number
    path = tmp_path / "net.caffemodel"
    path.write_bytes(layer("data", "AnnotatedData", field(4, b"data"), field(100, number_field(2, 1) + resize)))
    net = read_net(path)
    assert net.dialect == "bvlc"
    assert net.notes == ("layer 'data': TransformationParameter has no field 8; kept, not used",)


def test_text_of_the_fork_is_recognised_by_its_words():
    net = parse_net(TRAIN)
    assert net.dialect == "cpm"
    assert net.notes == ()
    assert net.layers[0].params.cpmdata_param.backend == "LMDB"
    assert net.layers[0].params.transform_param.crop_size_x == 368


def test_a_transform_field_alone_shows_the_fork():
    net = parse_net("layer { name: 'd' type: 'Data' top: 'd' transform_param { flip_prob: 0.25 } }")
    assert net.dialect == "cpm"
    assert net.layers[0].params.transform_param.flip_prob == 0.25


def test_a_forced_dialect_keeps_strange_fields_as_notes():
    net = parse_net(TRAIN, dialect="bvlc", source="train.prototxt")
    assert net.dialect == "bvlc"
    assert net.notes[0].startswith("train.prototxt:2:3: layer 'data': LayerParameter has no field 'cpmdata_param'")


def test_a_later_forks_own_parameters_are_kept_as_text():
    net = parse_net("layer { name: 'd' type: 'OPData' top: 'd' cpm_transform_param { stride: 8 target_dist: 0.6 } }")
    assert "no field 'cpm_transform_param'" in net.notes[0]


@pytest.mark.parametrize("path", shared_files("golden/caffe/train_e2e/*.caffemodel"), ids=lambda path: path.name)
def test_real_snapshots_of_the_fork_are_recognised(path):
    net = read_net(path)
    assert net.dialect == "cpm"
    assert net.layers[0].params.cpmdata_param.batch_size == 4
