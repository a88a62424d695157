"""Claim: a net's data layers give the original's batches, however many workers, processes and interruptions there are.

Oracles: batches of the original (`golden/caffe/transformer`, `train_e2e`, through `shared`); an uninterrupted run with
one worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import NetSpec, parse_net, read_net
from cpm_port.drawn.source import DrawnRecords
from cpm_port.errors import DataError, LayerError, MissingFileError, TrainingError, UnsupportedLayerError, UsageError
from cpm_port.parts import CPM14, PartOrder
from cpm_port.records.lmdb import write_lmdb
from cpm_port.records.record import Record
from cpm_port.training.batches import DataSource, open_data_layers
from tests.support import shared_dir

SHARED = shared_dir()
CASES = sorted(p.stem for p in (SHARED / "golden/caffe/transformer").glob("*.npz")) if SHARED else ["(none here)"]
MAP_TOLERANCE = 1e-6
BATCH, COUNT = 4, 6


def net(source: str, *, batch: int = BATCH, name: str = "data", fields: str = "", tops: str = "data label") -> str:
    first, second = tops.split()
    return f"""layer {{ name: "{name}" type: "CPMData" top: "{first}" top: "{second}"
      transform_param {{ stride: 8 crop_size_x: 48 crop_size_y: 40 target_dist: 0.6 {fields} }}
      cpmdata_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def train_net(text: str) -> NetSpec:
    return parse_net(text, phase="TRAIN", dialect="cpm")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "db"
    write_lmdb(path, [DrawnRecords(COUNT, 64)[number] for number in range(COUNT)])
    return path


def batches(source: DataSource, count: int) -> Iterator[dict[str, np.ndarray]]:
    with source:
        for _ in range(count):
            yield source.next_batch()


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[top], second[top]) for top in first)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_net_of_the_original_gives_its_batches(
    shared: Path, case: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "golden/caffe/transformer"
    facts = json.loads((folder / f"{case}.json").read_text())
    with np.load(folder / f"{case}.npz") as arrays:
        images, centers, maps = (arrays[name] for name in ("image_u8", "center_map", "label"))
    root = tmp_path / "a" / "b"
    root.mkdir(parents=True)
    for table in folder.glob(f"{case}.*_2_10.txt"):
        (tmp_path / table.name.removeprefix(f"{case}.")).write_text(table.read_text())
    monkeypatch.chdir(root)
    spec = read_net(folder / f"{case}.prototxt", phase=facts["phase"])
    source = open_data_layers(spec, phase=facts["phase"], srand=facts["srand_seed"], num_workers=workers)
    size = facts["batch_size"]
    for number, found in enumerate(batches(source, facts["batches"])):
        rows = slice(number * size, (number + 1) * size)
        np.testing.assert_array_equal(found["data"][:, :3], (images[rows].astype(np.float32) - 128) / 256)
        np.testing.assert_allclose(found["data"][:, 3], centers[rows], atol=MAP_TOLERANCE)
        np.testing.assert_allclose(found["label"], maps[rows], atol=MAP_TOLERANCE)
    assert (number + 1) * size == len(images)


def test_the_training_run_of_the_original_got_these_batches(shared: Path) -> None:
    folder = shared / "golden/caffe/train_e2e"
    spec = read_net(folder / "pose_train_test.prototxt", phase="TRAIN")
    with np.load(folder / "trajectory.npz") as arrays:
        image, center, label = (arrays[name] for name in ("iter1_image_u8", "iter1_center_map", "blob/label"))
    with open_data_layers(spec, phase="TRAIN", srand=1) as source:
        found = source.next_batch()
    np.testing.assert_array_equal(found["data"][:, :3], (image.astype(np.float32) - 128) / 256)
    np.testing.assert_allclose(found["data"][:, 3], center.reshape(found["data"][:, 3].shape), atol=MAP_TOLERANCE)
    np.testing.assert_allclose(found["label"], label, atol=MAP_TOLERANCE)


@pytest.mark.parametrize("given", [{"seed": 3}, {"srand": 1}, {"srand": 77}])
@pytest.mark.parametrize("kind", ["database", "drawn"])
def test_batches_do_not_depend_on_the_workers(database: Path, kind: str, given: dict[str, int]) -> None:
    spec = train_net(net(str(database) if kind == "database" else f"drawn:count={COUNT},size=64"))
    expected = list(batches(open_data_layers(spec, phase="TRAIN", **given), 5))
    for workers in (1, 3):
        found = batches(open_data_layers(spec, phase="TRAIN", num_workers=workers, **given), 5)
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert not same(expected[0], expected[3])  # 12 examples later, two epochs on: the same records, other draws


@pytest.mark.parametrize("given", [{"seed": 3}, {"srand": 5}])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_restored_source_goes_on_as_if_it_had_not_stopped(
    database: Path, given: dict[str, int], workers: int
) -> None:
    spec = train_net(net(str(database)) + net("drawn:count=5,size=64", name="more", tops="more labels", batch=2))
    expected = list(batches(open_data_layers(spec, phase="TRAIN", **given), 6))
    with open_data_layers(spec, phase="TRAIN", num_workers=workers, **given) as first:
        for _ in range(3):
            first.next_batch()
        state = json.loads(json.dumps(first.state()))
    with open_data_layers(spec, phase="TRAIN", num_workers=2 - workers, **given) as second:
        second.next_batch()
        second.restore(state)
        assert same(second.next_batch(), expected[3])
        second.skip(1)
        assert same(second.next_batch(), expected[5])
        second.restore(state)
        assert same(second.next_batch(), expected[3])


def test_shares_of_a_batch_make_up_the_batch(database: Path) -> None:
    spec = train_net(net(str(database)))
    for given in ({"seed": 1}, {"srand": 1}):
        whole = list(batches(open_data_layers(spec, phase="TRAIN", **given), 3))
        shares = [
            list(batches(open_data_layers(spec, phase="TRAIN", shard=(rank, 2), **given), 3)) for rank in range(2)
        ]
        for number in range(3):
            joined = {top: np.concatenate([share[number][top] for share in shares]) for top in whole[0]}
            assert same(joined, whole[number])
    with pytest.raises(UsageError, match="3 processes cannot share a batch of 4"):
        open_data_layers(spec, phase="TRAIN", shard=(0, 3))


def test_databases_are_read_in_order_and_other_sources_shuffled_in_each_epoch(database: Path) -> None:
    with open_data_layers(train_net(net(str(database), batch=COUNT)), phase="TRAIN") as source:
        source.next_batch()
        first = source.describe_last()
    assert [name.split("record ")[1][:7] for name in first] == [f"{number:07d}" for number in range(COUNT)]
    orders = []
    with open_data_layers(train_net(net(f"drawn:count={COUNT},size=64", batch=COUNT)), phase="TRAIN", seed=4) as source:
        for _ in range(3):
            source.next_batch()
            orders.append(source.describe_last())
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_replaying_keeps_the_order_of_every_source() -> None:
    with open_data_layers(
        train_net(net(f"drawn:count={COUNT},size=64", batch=COUNT)), phase="TRAIN", srand=1
    ) as source:
        source.next_batch()
        assert source.describe_last() == [f"DRAWN drawn_1_{number:06d}" for number in range(COUNT)]


def test_records_may_be_given_instead_of_a_source() -> None:
    spec = train_net(net("nowhere"))
    with open_data_layers(spec, phase="TRAIN", records={"data": DrawnRecords(3, 64)}) as source:
        assert source.next_batch()["data"].shape == (BATCH, 4, 40, 48)
        assert source.shapes == {"data": (BATCH, 4, 40, 48), "label": (BATCH, 30, 5, 6)}
    with pytest.raises(UsageError, match="records for image: no CPMData layer"):
        open_data_layers(spec, phase="TRAIN", records={"image": DrawnRecords(3, 64)})


def test_records_that_know_their_parts_exchange_them_in_a_flip() -> None:
    """Where the original flips and exchanges nothing, own data with own parts is not mislabelled."""

    class Knowing:
        order: PartOrder = CPM14

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Record:
            found = DrawnRecords(1, 64)[0]
            joints = found.person.joints[[9, 8, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5]]
            return replace(found, person=replace(found.person, joints=joints), others=())

    class Unknowing(Knowing):
        order = None  # type: ignore[assignment]

    fields = "transform_body_joint: false np_in_lmdb: 14 scale_prob: 0 max_rotate_degree: 0 center_perterb_max: 0 "
    labels = []
    for store, flip in ((Knowing(), 0), (Knowing(), 1), (Unknowing(), 1)):
        spec = train_net(net("x", batch=1, fields=f"{fields} flip_prob: {flip}"))
        with open_data_layers(spec, phase="TRAIN", records={"data": store}) as source:
            labels.append(source.next_batch()["label"][0])
    mirrored = labels[0][:, :, ::-1]
    np.testing.assert_allclose(labels[1][:14], mirrored[list(CPM14.mirrored())], atol=1e-4)
    np.testing.assert_allclose(labels[2][:14], mirrored[:14], atol=1e-4)


class _Dying:
    """Records, of which the fifth ends the thread that reads it."""

    order = None

    def __init__(self, end: BaseException) -> None:
        self._records, self._end = DrawnRecords(count=8, size=64, seed=1), end

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        if index == 4:
            raise self._end
        return self._records[index]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("end", "told"),
    [
        (DataError("torn"), (DataError, "torn")),
        (MemoryError("full"), (MemoryError, "full")),
        (SystemExit(1), (TrainingError, "a thread that makes batches has ended")),
    ],
)
def test_a_worker_that_dies_ends_the_run_and_nothing_waits_for_it(
    workers: int, end: BaseException, told: tuple[type[Exception], str]
) -> None:
    given = {"phase": "TRAIN", "records": {"data": _Dying(end)}, "num_workers": workers}
    with open_data_layers(train_net(net("unused")), **given) as source, pytest.raises(told[0], match=told[1]):
        list(batches(source, COUNT))


def test_paths_are_tried_from_the_root_and_beside_the_net(database: Path, tmp_path: Path) -> None:
    spec = train_net(net("db"))
    with open_data_layers(spec, phase="TRAIN", root=database.parent) as source:
        assert source.next_batch()["data"].shape[0] == BATCH
    with open_data_layers(replace(spec, source=str(database.parent / "net.prototxt")), phase="TRAIN") as source:
        assert source.next_batch()["data"].shape[0] == BATCH
    with pytest.raises(MissingFileError, match=r"layer 'data' names 'db', which is not at .* nor at"):
        open_data_layers(spec, phase="TRAIN", root=tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_that_is_broken_is_named(workers: int) -> None:
    class Broken:
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> Record:
            found = DrawnRecords(COUNT, 64)[index]
            person = replace(found.person, scale=0.0) if index == 2 else found.person
            return replace(found, person=person)

    spec = train_net(net("x", batch=COUNT))
    with (
        open_data_layers(spec, phase="TRAIN", num_workers=workers, records={"data": Broken()}) as source,
        pytest.raises(DataError, match=r"^DRAWN drawn_1_000002: scale 0; expected a positive number"),
    ):
        source.next_batch()


def test_tables_of_rotations_are_missed_by_name(database: Path, tmp_path: Path) -> None:
    spec = train_net(net(str(database), fields='aug_way: "table" num_total_augs: 2'))
    root = tmp_path / "a" / "b"
    root.mkdir(parents=True)
    with open_data_layers(spec, phase="TRAIN", root=root) as source:
        with pytest.raises(MissingFileError, match=r"rotate_2_6\.txt: no such table"):
            source.next_batch()
        (tmp_path / "rotate_2_6.txt").write_text("1 2 3")
        with pytest.raises(DataError, match="3 numbers; expected 6 rows of 2"):
            source.next_batch()


def test_what_cannot_be_opened_is_refused() -> None:
    layer = 'layer { name: "x" type: "%s" top: "a" }'
    with pytest.raises(UnsupportedLayerError, match=r"'x' \(OPData\), 'y' \(VideoData\); supported: CPMData, Data"):
        open_data_layers(parse_net(layer % "OPData" + 'layer { name: "y" type: "VideoData" top: "b" }'), phase="TEST")
    with pytest.raises(UsageError, match="no data layer in phase TEST"):
        open_data_layers(parse_net('layer { name: "p" type: "Parameter" top: "a" }'), phase="TEST")
    drawn = "drawn:count=2,size=64"
    for text, message in (
        (net(drawn, batch=0), "batch_size 0"),
        (net(drawn, fields="put_gaussian: false"), "put_gaussian"),
        (net(drawn).replace('top: "label"', ""), "1 tops; expected 2"),
    ):
        with pytest.raises(LayerError, match=message):
            open_data_layers(train_net(text), phase="TRAIN")
    spec = train_net(net(drawn))
    for given in ({"seed": -1}, {"num_workers": -1}, {"shard": (2, 2)}):
        with pytest.raises(UsageError, match="0 or more, 0 or more"):
            open_data_layers(spec, phase="TRAIN", **given)
    with open_data_layers(spec, phase="TRAIN", seed=1) as source:
        with pytest.raises(UsageError, match="'seed': 2"):
            source.restore({"batches": 1, "seed": 2, "srand": None})
        with pytest.raises(UsageError, match="skip -1"):
            source.skip(-1)
