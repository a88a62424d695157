"""Claim: a loop of one's own gets the examples of the CPM data layer, the same whatever loads them, and learns.

Oracles: the data layer itself; the data set read in this process; Caffe's loss layers in a train net; a slow loop.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import cpm_port
from cpm_port.caffe import parse_net, read_weights
from cpm_port.data import Augment, PoseDataset, StageLoss, collate, masked_euclidean_loss, split_label
from cpm_port.errors import DataError, LayerError, ShapeError, UsageError
from cpm_port.models import TrainingData, architecture, build, from_caffe, train_text
from cpm_port.parts import CPM14
from cpm_port.training.batches import open_data_layers
from cpm_port.training.extras import Extras
from cpm_port.training.sources import open_records
from cpm_port.training.streams import order_of_epoch
from tests.support import ROOT
from tests.test_docs import blocks
from tests.training.own_data import FIVE, write_own_data

PEOPLE = "drawn:count=6,size=80,seed=3,difficulty=60"
BOX = 64
SAME_SUMS = 1e-6


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["name"] == other["name"]
    for name in ("data", "label"):
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_examples_are_the_data_layers() -> None:
    net = parse_net(train_text(architecture("mpi", width=4, box=(BOX, BOX)), TrainingData(PEOPLE, 6)), phase="TRAIN")
    dataset = PoseDataset(PEOPLE, box=BOX, seed=5)
    assert dataset.order == CPM14
    with open_data_layers(net, phase="TRAIN", seed=5) as source:
        for epoch in range(2):
            batch = source.next_batch()
            dataset.set_epoch(epoch)
            for row, index in enumerate(order_of_epoch(5, epoch, 6).tolist()):
                example = dataset[index]
                np.testing.assert_array_equal(example["data"].numpy(), batch["data"][row])
                np.testing.assert_array_equal(example["label"].numpy(), batch["label"][row])


@pytest.mark.parametrize("workers", [1, 2])
def test_examples_are_the_same_in_workers_that_live_on(workers: int) -> None:
    extras = Augment(extras=Extras(color=0.5, grey=0.2, full_turns=0.5, cutout=0.5))
    dataset, alone = (PoseDataset(PEOPLE, box=BOX, augment=extras, seed=9) for _ in range(2))
    loader = DataLoader(
        dataset, batch_size=4, num_workers=workers, persistent_workers=True, collate_fn=collate, shuffle=True
    )
    seen = []
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        alone.set_epoch(epoch)
        for batch in loader:
            for row, index in enumerate(batch["index"].tolist()):
                expected = alone[index]
                seen.append(expected["data"])
                example = {"data": batch["data"][row], "label": batch["label"][row], "name": batch["names"][row]}
                assert_same(example, expected)
    assert len(seen) == 12
    assert not torch.equal(seen[0], seen[6])


def test_without_augmentation_epochs_are_alike_and_seeds_do_not_matter() -> None:
    one, other = (PoseDataset(PEOPLE, box=BOX, augment=False, seed=seed) for seed in (0, 1))
    other.set_epoch(7)
    assert other.epoch == 7
    for index in range(len(one)):
        assert_same(one[index], other[index])


def test_labels_are_maps_masks_joints_or_what_a_function_returns(tmp_path: Path) -> None:
    data = write_own_data(tmp_path / "own", ("head_top", "neck"), range(2))
    maps, masked, joints, own = (
        PoseDataset(str(data), parts=["neck", "tail"], box=BOX, labels=labels)[1]["label"]
        for labels in ("maps", "masked", "joints", lambda example: example.people.shape)
    )
    assert maps.shape == (6, 8, 8)
    assert not maps[1].any()
    assert torch.isnan(masked[[1, 4]]).all()
    torch.testing.assert_close(masked[[0, 2, 3, 5]], maps[[0, 2, 3, 5]])
    assert joints[:, 2].tolist() == [1, 2]
    x, y = (joints[0, :2] // 8).int().tolist()
    assert maps[0, y, x] > 0.5
    assert own == (1, 2, 3)


def test_sources_of_other_orders_are_joined_by_names_and_weights(tmp_path: Path) -> None:
    first = write_own_data(tmp_path / "a", FIVE, [0, 1])
    second = write_own_data(tmp_path / "b", FIVE[::-1], [0, 1, 2])
    both = f"2 * {first} + {second}"
    with pytest.raises(DataError, match="the sources name their parts differently"):
        PoseDataset(both, box=BOX)
    with pytest.raises(DataError, match="the sources name their parts differently: head_top"):
        open_records(both)
    dataset = PoseDataset(both, parts=["left_ankle", "left_wrist"], box=BOX, augment=False)
    assert len(dataset) == 7
    for index, other in ((0, 4), (1, 5), (2, 4), (3, 5)):
        torch.testing.assert_close(dataset[index]["label"], dataset[other]["label"])
    assert dataset[-1]["index"] == 6


def test_a_flip_exchanges_the_parts_sides(tmp_path: Path) -> None:
    data = write_own_data(tmp_path / "own", FIVE, [0])
    still = {"scale": (1.0, 1.0), "rotate": 0.0}
    plain, flipped = (
        PoseDataset(str(data), box=BOX, augment=Augment(**still, flip=flip), labels="joints")[0]["label"]
        for flip in (0.0, 1.0)
    )
    mirrored = plain[[0, 2, 1, 4, 3]]
    mirrored[:, 0] = BOX - 1 - mirrored[:, 0]
    torch.testing.assert_close(flipped, mirrored)


def test_held_out_people_are_the_marked_ones(tmp_path: Path) -> None:
    data = write_own_data(tmp_path / "own", FIVE, [0, 1, 2], [3])
    assert [len(PoseDataset(str(data), box=BOX, held_out=held)) for held in (False, True)] == [3, 1]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: PoseDataset(PEOPLE, box=60), UsageError, "box 60: expected a positive multiple of the stride 8"),
        (lambda: PoseDataset(PEOPLE, box=BOX, labels="heat"), UsageError, "labels 'heat': expected 'maps'"),
        (lambda: PoseDataset(PEOPLE, parts=["tail"], box=BOX), DataError, "none of tail is among them"),
        (lambda: PoseDataset(PEOPLE, parts="tail", box=BOX), UsageError, "parts 'tail': expected a list of names"),
        (lambda: PoseDataset(PEOPLE, parts=["neck", "neck"], box=BOX), UsageError, "each once"),
        (lambda: PoseDataset([PEOPLE, "own.json"], box=BOX), UsageError, "several are joined: 'a.json . b.json'"),
        (lambda: PoseDataset([], box=BOX), DataError, "holds no record"),
        (lambda: PoseDataset(PEOPLE, box=(BOX, BOX)), UsageError, "expected a positive multiple"),
        (lambda: PoseDataset(PEOPLE, box=BOX, stride=0), UsageError, "stride 0: expected 1 or more"),
        (lambda: PoseDataset(PEOPLE, box=BOX, augment={"flip": 0.0}), UsageError, "expected True, False or an Augment"),
        (lambda: PoseDataset(PEOPLE, box=BOX, target_dist=0.0), LayerError, "target_dist 0.0; expected positive"),
        (lambda: Augment(scale=1.0), UsageError, "scale 1.0: expected the least and the greatest factor"),
        (lambda: Augment(scale=(1.2, 0.8)), UsageError, "expected the least and the greatest factor"),
        (lambda: Augment(flip=5), UsageError, "flip 5: expected a probability from 0 to 1"),
        (lambda: Augment(rotate=float("nan")), UsageError, "rotate nan: expected a finite number"),
        (lambda: PoseDataset(PEOPLE, box=BOX).set_epoch(-1), UsageError, "epoch -1"),
        (lambda: PoseDataset(PEOPLE, box=BOX)[6], IndexError, "example 6 of 6"),
        (lambda: split_label(torch.zeros(1, 3, 2, 2)), ShapeError, "label is"),
        (lambda: StageLoss()({"maps": torch.zeros(1, 2, 2, 2)}, torch.zeros(1, 4, 2, 2)), UsageError, "got a dict"),
        (lambda: StageLoss()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 2, 2)), UsageError, "got a Tensor"),
        (lambda: StageLoss()([], torch.zeros(1, 4, 2, 2)), ShapeError, "1 stage or more"),
        (lambda: StageLoss()([torch.zeros(0, 2, 2, 2)], torch.zeros(0, 4, 2, 2)), ShapeError, "1 example or more"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_a_samplers_tensor_is_an_index() -> None:
    dataset = PoseDataset(PEOPLE, box=BOX)
    assert_same(dataset[torch.tensor(3)], dataset[3])


def test_the_stages_loss_is_the_train_nets() -> None:
    design = architecture("mpi", stages=3, width=4, box=(BOX, BOX))
    net = cpm_port.load_net(parse_net(train_text(design, TrainingData(PEOPLE, 2)), phase="TRAIN"))
    twin = build(design)
    blobs = {name: [blob.detach().numpy() for blob in blobs] for name, blobs in net.params.items()}
    twin.load_state_dict(from_caffe(blobs, design))
    batch = collate([PoseDataset(PEOPLE, box=BOX)[index] for index in (0, 1)])
    expected = net.total_loss(net({"data": batch["data"], "label": batch["label"]}))
    found = StageLoss()(twin(batch["data"]), batch["label"])
    torch.testing.assert_close(found, expected, rtol=SAME_SUMS, atol=0)


def test_maps_without_a_label_add_no_gradient() -> None:
    maps = torch.ones(1, 2, 2, 2, requires_grad=True)
    target = torch.tensor([float("nan"), 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    masked_euclidean_loss(maps, target).backward()
    assert maps.grad[0, :, 0, 0].tolist() == [0, 1]


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's examples define, run one after the other."""
    folder = tmp_path_factory.mktemp("page")
    scope: dict[str, Any] = {"__name__": "docs", "folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks((ROOT / "docs" / "how-to" / "pytorch_loop.md").read_text(encoding="utf-8"), "python"):
            exec(compile(block, "pytorch_loop.md", "exec"), scope)
    return scope


def test_the_pages_loop_learns_in_thirty_lines(page: dict[str, Any]) -> None:
    first, *_ = blocks((ROOT / "docs" / "how-to" / "pytorch_loop.md").read_text(encoding="utf-8"), "python")
    assert len(first.splitlines()) <= 30
    assert page["losses"][-1] < 0.7 * page["losses"][0]


def test_the_pages_larger_net_gives_the_smaller_ones_maps(page: dict[str, Any]) -> None:
    data = page["dataset"][0]["data"][None]
    small = build(page["design"])
    small.load_state_dict(from_caffe(read_weights(page["folder"] / "own.caffemodel"), page["design"]))
    with torch.no_grad():
        found, expected = page["larger"](data), small(data)
    for one, other in zip(found, expected, strict=False):
        torch.testing.assert_close(one[:, [*range(14), 15]], other, rtol=1e-4, atol=1e-5)


class LightningsWay:
    """What Lightning does with a module in an epoch: train and training_step, then eval and validation_step."""

    def fit(self, module: nn.Module, train: DataLoader[Any], validate: DataLoader[Any]) -> list[float]:
        optimizer, scores = module.configure_optimizers(), []
        for _ in range(2):
            module.train()
            for index, batch in enumerate(train):
                loss = module.training_step(batch, index)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            module.eval()
            with torch.no_grad():
                scores.append(sum(float(module.validation_step(batch, i)) for i, batch in enumerate(validate)))
        return scores


def test_the_pages_module_trains_as_lightning_calls_it(page: dict[str, Any]) -> None:
    torch.manual_seed(0)
    loader = DataLoader(page["dataset"], batch_size=4, collate_fn=collate)
    first, last = LightningsWay().fit(page["Pose"](), loader, loader)
    assert last < first


class AcceleratesWay:
    """What Accelerate's object is asked for: prepare gives things back, perhaps wrapped; backward does the pass."""

    def prepare(self, *things: Any) -> tuple[Any, ...]:
        return things

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def test_a_loop_runs_as_accelerate_wants_it(page: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net, accelerator = build(page["design"]), AcceleratesWay()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    loader = DataLoader(page["dataset"], batch_size=4, collate_fn=collate)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    losses = []
    for _ in range(5):
        for batch in loader:
            total = StageLoss()(net(batch["data"]), batch["label"])
            accelerator.backward(total)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_compiled_net_gives_the_same_loss(page: dict[str, Any]) -> None:
    batch = collate([page["dataset"][0]])
    net = build(page["design"])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    found, expected = (StageLoss()(one(batch["data"]), batch["label"]) for one in (compiled, net))
    torch.testing.assert_close(found, expected)
