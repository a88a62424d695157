"""The generator writes the released nets: oracle, the release's own prototxt files and the reference runs' nets.

Structure means: the layers in order, their types, bottoms, tops, learning-rate multipliers, and every field of their
parameters, defaults filled in. Names of the net and comments do not count.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cpm_port.caffe import NetSpec, parse_net, read_net
from cpm_port.errors import UsageError
from cpm_port.models import (
    ARCHITECTURES,
    TrainingData,
    architecture,
    deploy_text,
    solver_text,
    train_text,
    write_files,
)
from cpm_port.resources import resource_dir
from tests.support import ROOT

RELEASED = {
    "mpi": "mpi_pose_deploy_centerMap",
    "leeds": "leeds_pc_pose_deploy_centerMap",
    "flic": "flic_pose_deploy",
    "mpi-vgg": "mpi_vgg_pose_deploy_resize",
    "person": "person_pose_deploy_copy_4sg_resize",
}
PARAMETERS = {
    "Convolution": "convolution_param",
    "Pooling": "pooling_param",
    "Slice": "slice_param",
    "Concat": "concat_param",
    "CPMData": "transform_param",
    "Input": "input_param",
}


def structure(net: NetSpec, skip: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """Return everything that makes a net what it is, as values that compare."""
    return [
        (
            layer.name,
            layer.type,
            layer.bottoms,
            layer.tops,
            layer.param_specs,
            layer.loss_weights,
            getattr(layer.params, PARAMETERS[layer.type]) if layer.type in PARAMETERS else None,
        )
        for layer in net.layers
        if layer.type not in skip
    ]


def values(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Replace each parameter view by what its fields mean, given or not."""
    return [(*row[:-1], None if row[-1] is None else meaning(row[-1])) for row in rows]


def meaning(view: Any) -> dict[str, Any]:
    names = [field.name for field in view.message().DESCRIPTOR.fields if not field.name.startswith("_")]
    result = {}
    for name in names:
        value = getattr(view, name)
        nested = hasattr(value, "fields")
        result[name] = meaning(value) if nested and view.has(name) else None if nested else value
        if isinstance(value, tuple):
            result[name] = tuple(meaning(item) if hasattr(item, "fields") else item for item in value)
    return result


def assert_same_structure(ours: NetSpec, theirs: NetSpec, skip: tuple[str, ...] = ()) -> None:
    ours_rows, theirs_rows = values(structure(ours, skip)), values(structure(theirs, skip))
    assert [row[0] for row in ours_rows] == [row[0] for row in theirs_rows]
    for mine, other in zip(ours_rows, theirs_rows, strict=True):
        assert mine == other, mine[0]
    assert ours.outputs == theirs.outputs


@pytest.mark.parametrize("name", RELEASED)
def test_the_committed_deploy_net_equals_the_released_one(name: str, shared: Path) -> None:
    ours = read_net(resource_dir("prototxt") / f"{name.replace('-', '_')}_deploy.prototxt")
    theirs = read_net(shared / "release" / "prototxt" / f"{RELEASED[name]}.prototxt")
    assert ours.inputs == theirs.inputs
    assert_same_structure(ours, theirs)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("a kernel", "kernel_size: 9", "kernel_size: 7"),
        ("a multiplier", "lr_mult: 10", "lr_mult: 9"),
        ("an order of bottoms", 'bottom: "conv7_stage1"\n  bottom: "pool_center_lower"', None),
    ],
)
def test_the_comparison_of_structures_sees_a_difference_in(field: str, old: str, new: str | None) -> None:
    text = deploy_text(architecture("flic"))
    assert old in text, field
    changed = text.replace(old, new if new is not None else "\n  ".join(reversed(old.split("\n  "))), 1)
    with pytest.raises(AssertionError):
        assert_same_structure(parse_net(changed), parse_net(text))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_committed_files_are_the_generators_output(name: str, tmp_path: Path) -> None:
    for path in write_files(architecture(name), tmp_path):
        committed = resource_dir("prototxt") / path.name
        assert path.read_text() == committed.read_text(), f"{committed.name}: write it again with cpm-port prototxt"


def test_the_folder_holds_nothing_but_the_generators_files(tmp_path: Path) -> None:
    expected = {path.name for name in ARCHITECTURES for path in write_files(architecture(name), tmp_path)}
    assert {path.name for path in (ROOT / "prototxt").iterdir()} == expected


@pytest.mark.parametrize(
    ("golden", "name", "box"),
    [
        ("mpi_small", "mpi", (368, 368)),
        ("leeds_small", "leeds", (184, 184)),
        ("flic_small", "flic", (184, 184)),
        ("mpi_small_rect", "mpi", (248, 328)),
    ],
)
def test_a_width_of_16_gives_the_nets_that_real_caffe_ran(
    golden: str, name: str, box: tuple[int, int], shared: Path
) -> None:
    theirs = read_net(shared / "golden" / "caffe" / "nets" / f"{golden}.prototxt")
    ours = parse_net(deploy_text(architecture(name, width=16, box=box)))
    assert ours.inputs == theirs.inputs
    assert_same_structure(ours, theirs)


def test_the_train_net_equals_the_reference_runs(shared: Path) -> None:
    folder = shared / "golden" / "caffe" / "train_e2e"
    theirs = read_net(folder / "pose_train_test.prototxt", phase="TRAIN")
    data = TrainingData(source="../transformer/mpi_lmdb", batch_size=4, target_dist=0.6, sigma_center=21.0)
    ours = parse_net(train_text(architecture("mpi", width=8, box=(184, 184)), data), phase="TRAIN")
    assert_same_structure(ours, theirs)
    assert meaning(ours.layers[0].params.cpmdata_param) == meaning(theirs.layers[0].params.cpmdata_param)


def test_the_flic_data_layer_reads_records_of_nine_joints() -> None:
    net = parse_net(train_text(architecture("flic")), phase="TRAIN")
    transform = net.layer("data").params.transform_param
    assert (transform.num_parts, transform.np_in_lmdb) == (9, 9)
    assert net.layer("label_lower").params.slice_param.slice_point == (10,)


def test_stage_1_learns_from_everybody_and_the_later_stages_from_the_person() -> None:
    net = parse_net(train_text(architecture("mpi-vgg", stages=3)), phase="TRAIN")
    losses = [layer.bottoms for layer in net.layers if layer.type == "EuclideanLoss"]
    assert losses == [
        ("conv5_2_CPM", "label_1st_lower"),
        ("Mconv7_stage2", "label_lower"),
        ("Mconv7_stage3", "label_lower"),
    ]


def test_the_person_net_trains_from_hdf5_since_the_data_layer_has_no_person_maps() -> None:
    net = parse_net(train_text(architecture("person")), phase="TRAIN")
    assert (net.layers[0].type, net.layers[0].tops) == ("HDF5Data", ("image", "label"))
    assert [layer.bottoms[1] for layer in net.layers if layer.type == "EuclideanLoss"] == ["label"] * 4


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("stages", [1, 2, 7])
def test_any_number_of_stages_ends_in_one_output_or_one_loss_each(name: str, stages: int) -> None:
    net = architecture(name, stages=stages)
    assert parse_net(deploy_text(net)).outputs == (net.outputs[-1],)
    train = parse_net(train_text(net), phase="TRAIN")
    assert train.outputs == tuple(f"loss_stage{stage}" for stage in range(1, stages + 1))


def test_a_smaller_box_keeps_the_persons_share_of_it() -> None:
    net = parse_net(train_text(architecture("mpi", box=(184, 256))), phase="TRAIN")
    transform = net.layer("data").params.transform_param
    assert (transform.crop_size_x, transform.crop_size_y) == (256, 184)
    assert transform.target_dist == pytest.approx(1.171 / 2, abs=1e-6)


def test_the_center_map_shrinks_with_the_box() -> None:
    assert (
        not parse_net(train_text(architecture("mpi")), phase="TRAIN")
        .layers[0]
        .params.transform_param.has("sigma_center")
    )
    small = parse_net(train_text(architecture("mpi", box=(184, 184))), phase="TRAIN")
    assert small.layers[0].params.transform_param.sigma_center == 10.5


def test_boxes_shift_as_far_as_asked() -> None:
    net = parse_net(train_text(architecture("mpi"), TrainingData(center_perterb_max=6)), phase="TRAIN")
    assert net.layers[0].params.transform_param.center_perterb_max == 6


def test_a_share_of_the_front_comes_before_the_cap() -> None:
    net = parse_net(deploy_text(architecture("mpi-vgg", front_share=0.25, width=64)))
    outputs = {layer.name: layer.params.convolution_param.num_output for layer in net.layers}
    front = ("conv1_1", "conv2_2", "conv3_4", "conv4_2", "conv4_3_CPM", "conv4_7_CPM")
    assert [outputs[name] for name in front] == [16, 32, 64, 64, 64, 32]
    assert (outputs["Mconv1_stage2"], outputs["conv5_2_CPM"]) == (64, 15)


def test_a_quote_in_a_path_survives() -> None:
    source = 'odd "name"\\with\\backslashes'
    net = parse_net(train_text(architecture("mpi"), TrainingData(source=source)), phase="TRAIN")
    assert net.layer("data").params.cpmdata_param.source == source


def test_the_solver_file_names_its_net_and_prefix() -> None:
    text = solver_text("folder/net.prototxt", "snapshots/pose")
    assert 'net: "folder/net.prototxt"' in text
    assert 'snapshot_prefix: "snapshots/pose"' in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg"}, "'vgg' is unknown; expected one of mpi, leeds"),
        ({"name": "mpi", "stages": 0}, "stages is 0; expected 1 or more"),
        ({"name": "mpi", "width": -3}, "width is -3; expected 1 or more"),
        ({"name": "mpi-vgg", "front_share": 0.0}, r"front share 0\.0 of mpi-vgg"),
        ({"name": "mpi", "front_share": 0.5}, r"front share 0\.5 of mpi: expected .* a net with a front"),
        ({"name": "mpi", "box": (100, 368)}, "box is 100 x 368; expected positive multiples of 8"),
    ],
)
def test_impossible_nets_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        architecture(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch_size": 0}, "batch size is 0"), ({"scale_min": 1.5}, r"scales are 1\.5 to 1\.3")],
)
def test_impossible_training_data_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_text(architecture("mpi"), replace(TrainingData(), **change))
