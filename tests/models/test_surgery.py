"""Claim: weights move to nets of other parts, stages and widths, and what a grown net knew before it still knows.

Oracle: the source net's own maps, computed beside the target's from the same input. Where channels are only added, the
sums are the same but for zeros, which may change their order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cpm_port
from cpm_port.caffe import parse_net
from cpm_port.errors import LayerError, UsageError, WeightsError
from cpm_port.graph import CaffeNet
from cpm_port.models import TrainingData, architecture, deploy_text
from cpm_port.models.interface import belief_maps
from cpm_port.models.retarget import deploy_for_parts, train_for_parts
from cpm_port.models.surgery import MoveReport, move_weights

SAME_SUMS = 1e-5  # of the largest value
BOX = 64
NAMES = ("nose", "left_ear", "right_ear")
DESIGNS = ("mpi", "flic", "mpi-vgg", "residual")


def net_of(design: str, **changes: object) -> CaffeNet:
    """Return a small deploy net, its weights drawn."""
    text = deploy_text(architecture(design, **{"stages": 3, "parts": 3, "width": 8, "box": (BOX, BOX), **changes}))
    return drawn(text, design)


def drawn(text: str, source: str) -> CaffeNet:
    net = cpm_port.load_net(parse_net(text, source=source))
    generator = torch.Generator().manual_seed(len(text))
    with torch.no_grad():
        for parameter in net.parameters():
            fan_in = parameter[0].numel() if parameter.ndim == 4 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return net


def moved(
    old: CaffeNet, new: CaffeNet, source_parts: tuple[str, ...] = NAMES, target_parts: tuple[str, ...] = NAMES
) -> MoveReport:
    weights, into = (
        {name: [blob.detach().numpy() for blob in blobs] for name, blobs in net.params.items()} for net in (old, new)
    )
    result, report = move_weights(
        weights, old.spec, new.spec, into, source_parts=source_parts, target_parts=target_parts
    )
    new.load_weights(result)
    return report


def maps(net: CaffeNet) -> list[np.ndarray]:
    """Return every stage's maps of one input."""
    data = torch.rand(1, 4, BOX, BOX, generator=torch.Generator().manual_seed(3)) - 0.5
    stages = list(belief_maps(net.spec, net.blob_shapes).values())
    with torch.no_grad():
        blobs = net(data, blobs=stages)
    return [blobs[stage][0].numpy() for stage in stages]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for stage, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        largest = np.abs(one - other).max() / np.abs(other).max()
        assert largest < SAME_SUMS, f"stage {stage}: {largest}"


@pytest.mark.parametrize("design", DESIGNS)
def test_the_same_net_gets_the_same_weights(design: str) -> None:
    old, new = net_of(design), net_of(design)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.zero_()
    report = moved(old, new)
    assert set(report.whole) == set(old.params)
    assert (report.partly, report.left, report.unused) == ((), (), ())
    for name, blobs in old.params.items():
        for one, other in zip(blobs, new.params[name], strict=True):
            assert torch.equal(one, other), name


@pytest.mark.parametrize("design", DESIGNS)
def test_parts_move_by_their_names_and_new_ones_begin_at_zero(design: str) -> None:
    old, new = net_of(design), net_of(design, parts=5)
    names = ("right_ear", "tail", "nose", "left_ear", "hoof")
    report = moved(old, new, target_parts=names)
    known = [names.index(name) for name in NAMES] + [5]
    found = maps(new)
    assert_same([stage[known] for stage in found], maps(old))
    assert all(not stage[[1, 4]].any() for stage in found)
    assert any("2 of 6 outputs are new (tail, hoof)" in line for line in report.partly)
    assert not report.left


@pytest.mark.parametrize("design", DESIGNS)
def test_fewer_parts_leave_the_others_as_far_as_no_stage_reads_the_lost_ones(design: str) -> None:
    old, new = net_of(design), net_of(design, parts=1)
    moved(old, new, target_parts=("left_ear",))
    assert_same(maps(new)[:1], [maps(old)[0][[1, 3]]])


@pytest.mark.parametrize("design", ["mpi", "mpi-vgg"])
def test_a_wider_net_gives_the_maps_that_the_narrow_one_gave(design: str) -> None:
    old, new = net_of(design), net_of(design, width=12)
    report = moved(old, new)
    assert_same(maps(new), maps(old))
    assert any("4 of 12 outputs are new" in line for line in report.partly)


@pytest.mark.parametrize("design", ["mpi-vgg", "residual"])
def test_a_stage_that_the_source_lacks_begins_as_its_last(design: str) -> None:
    old, new = net_of(design, stages=2), net_of(design, stages=4)
    report = moved(old, new)
    assert_same(maps(new)[:2], maps(old))
    last = [name for name in new.params if name.endswith("_stage4")]
    assert last
    for name in last:
        assert torch.equal(new.params[name][0], old.params[name.replace("stage4", "stage2")][0])
    assert not report.left


def test_a_stage_that_the_target_lacks_is_not_used_and_named() -> None:
    report = moved(net_of("mpi-vgg"), net_of("mpi-vgg", stages=2))
    assert report.unused
    assert all(name.endswith("_stage3") for name in report.unused)


def test_layers_of_another_kind_stay_and_are_named() -> None:
    old, new = net_of("mpi"), net_of("mpi-vgg")
    before = {name: blobs[0].detach().clone() for name, blobs in new.params.items()}
    report = moved(old, new)
    assert "conv1_1: the source has no such layer" in report.left
    assert any(line.startswith("Mconv1_stage2: kernels (11, 11) there, (7, 7) here") for line in report.left)
    assert torch.equal(before["conv1_1"], new.params["conv1_1"][0])
    said = str(report)
    assert f"{len(report.whole)} layers moved whole" in said
    assert all(line in said for line in (*report.partly, *report.left, *report.unused))


def test_as_many_names_as_parts_are_asked_for() -> None:
    with pytest.raises(WeightsError, match="4 belief maps, expected 3 names of parts, got 2"):
        moved(net_of("mpi"), net_of("mpi"), source_parts=("a", "b"))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("parts", [1, 5, 14, 21])
def test_any_design_becomes_a_net_for_other_parts_that_trains(design: str, parts: int) -> None:
    old = net_of(design, stages=2)
    deploy = parse_net(deploy_for_parts(old.spec, parts, 96))
    new = drawn(deploy_for_parts(old.spec, parts, 96), design)
    assert [tuple(stage.shape) for stage in new_maps(new)] == [(1, parts + 1, 12, 12)] * 2
    names = tuple(map(str, range(parts)))
    assert not moved(old, new, target_parts=names).left
    train = parse_net(train_for_parts(deploy, TrainingData("own.json", 2)), phase="TRAIN")
    net = cpm_port.load_net(train)
    assert net.inputs == {"data": (2, 4, 96, 96), "label": (2, 2 * parts + 2, 12, 12)}
    assert len(net.loss_weights) == 2
    assert not moved(new, net, names, names).partly
    inputs = {name: torch.zeros(shape) for name, shape in net.inputs.items()}
    assert torch.isfinite(net.total_loss(net(inputs)))


def new_maps(net: CaffeNet) -> list[torch.Tensor]:
    stages = list(belief_maps(net.spec, net.blob_shapes).values())
    blobs = net(torch.zeros(1, 4, 96, 96), blobs=stages)
    return [blobs[stage] for stage in stages]


def test_a_net_of_one_stage_is_taught_everybodys_parts_alone() -> None:
    deploy = parse_net(deploy_for_parts(net_of("mpi", stages=1).spec, 2))
    net = cpm_port.load_net(parse_net(train_for_parts(deploy, TrainingData("own.json", 1)), phase="TRAIN"))
    inputs = {name: torch.zeros(shape) for name, shape in net.inputs.items()}
    inputs["label"][:, :3] = 1
    outputs = net(inputs)
    inputs["label"][:, :3] = 0
    assert torch.equal(net.total_loss(outputs), net.total_loss(net(inputs)))


def test_nets_that_cannot_be_taught_so_are_refused() -> None:
    person = parse_net(deploy_text(architecture("person", width=4, box=(BOX, BOX))))
    with pytest.raises(UsageError, match="input of 3 channels; a net with a center map"):
        deploy_for_parts(person, 3)
    with pytest.raises(UsageError, match="expected one whole stride"):
        deploy_for_parts(net_of("mpi", stages=1).spec, 3, 70)
    with pytest.raises(LayerError, match="concat_stage2"):
        deploy_for_parts(net_of("mpi").spec, 3, 70)
