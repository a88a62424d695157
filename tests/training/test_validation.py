"""Validation during training: boxes, peaks and PCK. Oracle: the labels themselves, whose peaks must be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net, read_net
from cpm_port.drawn.source import DrawnRecords
from cpm_port.errors import DataError, LayerError, MissingFileError, TrainingError, UsageError
from cpm_port.graph import load_net
from cpm_port.models import TrainingData, architecture, train_text
from cpm_port.models.interface import belief_maps
from cpm_port.parts import CPM14, FLIC9, MPII16, PartOrder
from cpm_port.records.record import Record
from cpm_port.training.cache import CachedRecords
from cpm_port.training.curves import plot_run
from cpm_port.training.labels import labels
from cpm_port.training.run import RunOptions, open_run
from cpm_port.training.testnets import share_parameters
from cpm_port.training.transform_param import TransformParameters
from cpm_port.training.validation import (
    data_and_label,
    hold_out,
    peaks_in_crop,
    stage_errors,
    stage_pck,
)
from tests.training.support import CPU, SOLVERS

BOX = 96
PARAMETERS = TransformParameters(stride=8, crop_size_x=BOX, crop_size_y=BOX, target_dist=0.4, sigma=8)
RECORDS = DrawnRecords(count=12, size=96, seed=5)


def test_held_out_boxes_are_training_boxes_without_chance() -> None:
    """The person's center stands in the middle, at the size that target_dist says; images and joints move alike."""
    held_out = hold_out(RECORDS, PARAMETERS)
    assert held_out.planes.shape == (12, 3, BOX, BOX)
    assert np.abs(held_out.centers - BOX // 2).max() <= 0.5
    for row, joints in enumerate(held_out.joints):
        stored = RECORDS[row].person
        scale = PARAMETERS.target_dist / stored.scale
        expected = (stored.joints[[MPII16.index(part) for part in CPM14.parts], :2] - stored.objpos) * scale
        known = ~np.isnan(joints).any(axis=1)
        assert np.abs(joints - held_out.centers[row] - expected)[known].max() < 1e-3


def test_what_goes_into_the_net_is_what_training_gives_it() -> None:
    held_out = hold_out(RECORDS, PARAMETERS, limit=3)
    blob = held_out.data(0, 2)
    assert blob.shape == (2, 4, BOX, BOX)
    assert np.array_equal(blob[:, :3], (held_out.planes[:2].astype(np.float32) - 128) / 256)
    y, x = np.unravel_index(blob[0, 3].argmax(), (BOX, BOX))
    assert abs(x - held_out.centers[0, 0]) <= 0.5
    assert abs(y - held_out.centers[0, 1]) <= 0.5


def test_a_limit_takes_people_from_everywhere() -> None:
    few = hold_out(RECORDS, PARAMETERS, limit=4)
    every = hold_out(RECORDS, PARAMETERS)
    assert np.array_equal(few.planes, every.planes[[0, 3, 6, 9]])


def test_peaks_of_labels_lie_on_the_joints() -> None:
    """Maps of the joints themselves: what the enlarged maps' maxima miss is far below a cell of 8 px."""
    held_out = hold_out(RECORDS, PARAMETERS)
    inside = ((held_out.joints > 8) & (held_out.joints < BOX - 9)).all(axis=2)
    people = np.concatenate([np.nan_to_num(held_out.joints), np.zeros((12, 14, 1))], axis=2).astype(np.float32)
    maps = np.stack([labels(p[None], 14, 8, PARAMETERS.sigma, (BOX, BOX))[:14] for p in people])
    peaks = peaks_in_crop(torch.from_numpy(maps), 8).numpy()
    distance = np.linalg.norm(peaks - held_out.joints, axis=2)[inside]
    assert distance.max() < 2.0
    assert distance.mean() < 1.0


def test_pck_is_that_of_the_errors_per_stage_and_part() -> None:
    text = train_text(architecture("mpi", stages=2, width=8, box=(BOX, BOX)), TrainingData(batch_size=2))
    torch.manual_seed(1)
    net = load_net(parse_net(text.replace("std: 0.01", "std: 0.1"), phase="TRAIN"))
    data, label, _ = data_and_label(net)
    assert (data, label) == ("data", "label")
    held_out = hold_out(RECORDS, PARAMETERS)
    stages = tuple(belief_maps(net.spec, net.blob_shapes).values())
    assert stages == ("conv7_stage1", "Mconv5_stage2")
    errors = stage_errors(net, held_out, stages, batch=5)
    with torch.no_grad():
        blobs = net({"data": held_out.data(0, 12), "label": np.zeros((12, 30, 12, 12), np.float32)}, blobs=stages)
    torso = held_out.joints[:, CPM14.index("left_shoulder")] - held_out.joints[:, CPM14.index("right_hip")]
    for row, stage in zip(errors, stages, strict=True):
        peaks = peaks_in_crop(blobs[stage][:, :14], 8).numpy()
        expected = np.linalg.norm(peaks - held_out.joints, axis=2) / np.linalg.norm(torso, axis=1)[:, None]
        np.testing.assert_allclose(row, expected, rtol=1e-12)
    values, line = stage_pck(net, held_out)
    labelled = ~np.isnan(errors[1])
    assert values["pck"] == pytest.approx(100 * (errors[1][labelled] <= 0.2).mean())
    assert values["stages"]["conv7_stage1"] == pytest.approx(100 * (errors[0][labelled] <= 0.2).mean())
    assert np.average(values["parts"], weights=labelled.sum(axis=0)) == pytest.approx(values["pck"])
    assert line.startswith(f"PCK@0.2 {values['pck']:.2f} % of {labelled.sum()} joints")


def test_dropout_is_off_while_validating_and_on_again_after() -> None:
    text = train_text(architecture("mpi", stages=1, width=8, box=(BOX, BOX)), TrainingData(batch_size=2))
    text = text.replace(
        'layer {\n  name: "conv7_stage1"',
        'layer { name: "drop" type: "Dropout" bottom: "conv6_stage1" top: "conv6_stage1" }\nlayer {\n  '
        'name: "conv7_stage1"',
    )
    torch.manual_seed(1)
    net = load_net(parse_net(text.replace("std: 0.01", "std: 0.1"), phase="TRAIN"))
    held_out = hold_out(RECORDS, PARAMETERS)
    first, second = (stage_errors(net, held_out, ["conv7_stage1"]) for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)
    inputs = {"data": held_out.data(0, 2), "label": np.zeros((2, 30, 12, 12), np.float32)}
    blobs = [net(inputs, blobs=["conv7_stage1"])["conv7_stage1"] for _ in range(2)]
    assert not torch.equal(*blobs)


def _with_joints(record: Record, parts: list[str]) -> Record:
    """Return the record with only these parts labelled."""
    joints = np.full_like(record.person.joints, -1)
    rows = [MPII16.index(part) for part in parts]
    joints[rows] = record.person.joints[rows]
    return replace(record, person=replace(record.person, joints=joints))


def test_people_whose_torso_is_not_labelled_are_left_out() -> None:
    torso = ["left_shoulder", "right_hip"]
    records = [RECORDS[0], _with_joints(RECORDS[1], ["left_shoulder"]), _with_joints(RECORDS[2], torso)]
    held_out = hold_out(records, PARAMETERS)
    assert len(held_out) == 2
    assert (~np.isnan(held_out.joints[1]).any(axis=1)).sum() == 2
    with pytest.raises(DataError, match=r"none of 1 people held out has the labels .*, the torso"):
        hold_out(records[1:2], PARAMETERS)


def test_other_numbers_of_parts_are_measured_by_the_joints_box() -> None:
    parameters = replace(PARAMETERS, num_parts=16, transform_body_joint=False)
    held_out = hold_out([RECORDS[0], RECORDS[1]], parameters)
    span = np.nanmax(held_out.joints, axis=1) - np.nanmin(held_out.joints, axis=1)
    np.testing.assert_allclose(held_out.normalizer, span.max(axis=1) / 2)


class _Ordered(list[Record]):
    """Records that know their order."""

    order: PartOrder


def test_parts_that_are_known_are_measured_by_the_torso_if_they_have_one() -> None:
    """Own data of nine parts is not taken for FLIC's, whose third part of the right arm is a wrist."""
    plain = replace(PARAMETERS, num_parts=9, np_in_lmdb=9)
    rows = [*range(8, 16), 0]
    names = tuple(MPII16.parts[row] for row in rows)
    records = _Ordered(
        replace(r, person=replace(r.person, joints=r.person.joints[rows]), others=()) for r in (RECORDS[0], RECORDS[1])
    )
    records.order = PartOrder("own", names, ())
    found = hold_out(records, plain)
    span = np.nanmax(found.joints, axis=1) - np.nanmin(found.joints, axis=1)
    np.testing.assert_allclose(found.normalizer, span.max(axis=1) / 2)
    records.order = PartOrder("own", ("left_shoulder", *names[1:8], "right_hip"), ())
    found = hold_out(records, plain)
    np.testing.assert_allclose(found.normalizer, np.linalg.norm(found.joints[:, 0] - found.joints[:, 8], axis=1))


def test_flics_nine_parts_are_measured_by_their_torso() -> None:
    records = [
        replace(r, person=replace(r.person, joints=r.person.joints[[*range(8, 16), 0]]))
        for r in map(RECORDS.__getitem__, [0])
    ]
    held_out = hold_out(records, replace(PARAMETERS, num_parts=9, np_in_lmdb=9))
    torso = held_out.joints[0, FLIC9.index("left_shoulder")] - held_out.joints[0, FLIC9.index("right_hip")]
    np.testing.assert_allclose(held_out.normalizer, [np.linalg.norm(torso)])


def test_a_net_without_a_cpm_data_layer_cannot_be_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions(SOLVERS / "sgd_step.solver.prototxt", validate="drawn:count=2,size=64,seed=1")
    with pytest.raises(LayerError, match="0 CPMData layers"), open_run(options, CPU):
        pass


def test_a_test_net_with_a_layer_of_its_own_is_refused() -> None:
    spec = read_net(SOLVERS / "train.prototxt", phase="TRAIN")
    shapes = {"data": (2, 4, 11, 12), "label": (2, 3, 5, 6)}
    whole = load_net(spec, input_shapes=shapes)
    part = load_net(
        parse_net((SOLVERS / "train.prototxt").read_text().replace('"conv2"', '"other"')), input_shapes=shapes
    )
    with pytest.raises(TrainingError, match=r"layer 'other': .* absent in the train net"):
        share_parameters(whole, part)


def test_cached_records_are_made_once() -> None:
    made = []

    class Store:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Record:
            made.append(index)
            return RECORDS[index]

    cache = CachedRecords(Store())
    assert len(cache) == 3
    assert [cache[i] is cache[i] for i in (2, 0)] == [True, True]
    assert made == [2, 0]
    assert cache.order is None


def test_a_cache_knows_the_order_that_its_store_knows() -> None:
    assert CachedRecords(RECORDS).order == RECORDS.order == MPII16


def test_a_picture_of_a_run_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record of kind 'train'"):
        plot_run([], tmp_path / "run.svg")


@pytest.mark.parametrize(("source", "error"), [("nowhere", MissingFileError), ("drawn:people=3", UsageError)])
def test_a_validation_source_that_is_none_is_refused(
    source: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = train_text(architecture("mpi", stages=1, width=8, box=(48, 48)), TrainingData("drawn:count=4", batch_size=2))
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 1e-6 lr_policy: "fixed" max_iter: 1')
    with pytest.raises(error), open_run(RunOptions("solver.prototxt", validate=source), CPU):
        pass
