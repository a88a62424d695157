"""Shards are WebDataset's, stream in a known order, and go on in the middle of a pass.

Oracles: the JSON file that they were made of; the standard library's `tarfile`; the whole batch for its parts.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cpm_port.caffe import parse_net
from cpm_port.cli import main
from cpm_port.drawn.source import DrawnPeople
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.records import shards
from cpm_port.records.genjson import write_genjson
from cpm_port.records.shards import ShardRecords, lanes_of
from cpm_port.training.batches import DataSource, open_data_layers
from cpm_port.training.sources import open_records

PEOPLE, EACH = 22, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people as a JSON file with pictures, and as eight shards, the last of one person."""
    place = tmp_path_factory.mktemp("people")
    samples = []
    for number in range(PEOPLE):
        sample, image = DrawnPeople(PEOPLE, 64)[number]
        cv2.imwrite(str(place / f"{number}.png"), image)
        samples.append(replace(sample, image=place / f"{number}.png", split="train"))
    write_genjson(place / "train.json", samples)
    command = ["records", "shards", str(place / "out"), "--source", str(place / "train.json"), "--per-shard", str(EACH)]
    assert main([*command, "--shuffle", "5"]) == 0
    return place


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("webdataset", reason="the extra cpm_port[shards] is not installed")


def net(batch: int) -> str:
    return f"""layer {{ name: "data" type: "CPMData" top: "data" top: "label"
      cpmdata_param {{ source: "shards:out/index.json" batch_size: {batch} }}
      transform_param {{ stride: 8 crop_size_x: 48 crop_size_y: 48 target_dist: 0.2 num_parts: 14 np_in_lmdb: 16
        put_gaussian: true transform_body_joint: true sigma: 7 sigma_center: 21 flip_prob: 0.5 }} }}"""


def opened(folder: Path, batch: int = 8, **given: Any) -> DataSource:
    return open_data_layers(parse_net(net(batch), phase="TRAIN"), phase="TRAIN", root=folder, seed=3, **given)


def test_a_shard_holds_each_pictures_own_file_and_its_annotation(folder: Path) -> None:
    """By tarfile alone: pairs of files of one key, the index counts them, and everybody is there once."""
    index = json.loads((folder / "out" / "index.json").read_text())
    assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
    assert [one["nsamples"] for one in index["shardlist"]] == [EACH] * 7 + [1]
    found = []
    for one in index["shardlist"]:
        path = folder / "out" / one["url"]
        assert path.stat().st_size == one["filesize"]
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert names[::2] == [name.replace(".json", ".png") for name in names[1::2]]
            for picture, text in zip(names[::2], names[1::2], strict=True):
                record = json.load(tar.extractfile(text))["root"][0]  # type: ignore[arg-type]
                assert tar.extractfile(picture).read() == (folder / record["img_paths"]).read_bytes()  # type: ignore[union-attr]
                found.append(record["img_paths"])
    assert sorted(found) == sorted(f"{number}.png" for number in range(PEOPLE))
    assert found != sorted(found, key=lambda name: int(name.split(".")[0]))
    with pytest.raises(UsageError, match="it exists; shards are written to a new folder"):
        shards.write_shards(folder / "out", [], 1, None)


def test_a_shards_records_are_those_of_the_json_file(folder: Path, library: Any) -> None:
    ours, theirs = open_records(f"shards:{folder}/out/index.json"), open_records(folder / "train.json")
    by_picture = {record.name: record for record in map(theirs.__getitem__, range(PEOPLE))}
    assert len(ours) == PEOPLE
    for number in [*range(PEOPLE), 4, 3, 21, 0]:
        record = ours[number]
        expected = by_picture[record.name]
        np.testing.assert_array_equal(record.planes, expected.planes)
        np.testing.assert_array_equal(record.person.joints, expected.person.joints)
        assert (record.person.scale, record.image_size) == (expected.person.scale, expected.image_size)


def test_every_lane_reads_its_own_shards_one_by_one_in_an_order_drawn_for_each_pass(folder: Path, library: Any) -> None:
    """Four lanes over eight shards: by hand, lane k has shards k and k + 4, and all of their samples in each pass."""
    assert [lanes_of(*given) for given in [(8, 100), (32, 100), (32, 5), (6, 5), (7, 3), (1, 9)]] == [8, 16, 4, 3, 1, 1]
    store = ShardRecords(folder / "out" / "index.json")
    batch = 4
    orders = set()
    seen: dict[int, list[tuple[int, int]]] = {lane: [] for lane in range(4)}
    for number in range(60):
        for row, place in enumerate(store.places(number, batch, 3)):
            seen[row].append(place)
    starts = [EACH * shard for shard in range(8)]
    for lane, places in seen.items():
        mine = [starts[shard] + k for shard in (lane, lane + 4) for k in range(EACH if shard < 7 else 1)]
        for epoch in range(10):
            numbers = [index for which, index in places if which == epoch]
            assert sorted(numbers) == mine
            parts = [numbers[:EACH], numbers[EACH:]] if numbers[0] != 21 else [numbers[:1], numbers[1:]]
            assert all(part == sorted(part) for part in parts)
            orders.add((lane, parts[0][0]))
    assert len(orders) == 8
    assert [place for _, place in store.places(0, 4, None)] == [0, 3, 6, 9]


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_resumed_in_the_middle_of_a_pass_give_the_same_batches(workers: int, folder: Path, library: Any) -> None:
    with opened(folder, num_workers=workers) as source:
        batches, names, states = [], [], []
        for _ in range(9):
            batches.append(source.next_batch())
            names.append(source.describe_last())
            states.append(source.state())
    for after in (0, 1, 4):
        with opened(folder, num_workers=2 - workers) as source:
            source.restore(states[after])
            for number in range(after + 1, 9):
                found = source.next_batch()
                assert source.describe_last() == names[number]
                for top, blob in found.items():
                    np.testing.assert_array_equal(blob, batches[number][top])


@pytest.mark.parametrize("count", [2, 4, 8])
def test_processes_read_their_own_shards_only_and_together_the_whole_batch(
    count: int, folder: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder) as source:
        whole = [source.next_batch() for _ in range(6)]
    inner = shards._opened
    urls: set[str] = set()
    monkeypatch.setattr(shards, "_opened", lambda url: [urls.add(Path(url).name), inner(url)][1])
    parts, read = [], []
    for rank in range(count):
        urls.clear()
        with opened(folder, shard=(rank, count)) as source:
            parts.append([source.next_batch() for _ in range(6)])
        read.append(urls - {"shard-000000.tar"} if rank else set(urls))  # the first one tells the parts' order
    for number, batch in enumerate(whole):
        for top, blob in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[number][top] for part in parts]), blob)
    for rank, names in enumerate(read):
        lanes = range(rank * 8 // count, (rank + 1) * 8 // count)
        assert names == {f"shard-{lane:06d}.tar" for lane in lanes}


def test_a_machine_needs_the_shards_of_its_own_processes_only(folder: Path, tmp_path: Path, library: Any) -> None:
    """The second of two processes, where the first one's shards are not."""
    (tmp_path / "out").mkdir()
    for name in ("index.json", *(f"shard-{lane:06d}.tar" for lane in range(4, 8))):
        (tmp_path / "out" / name).write_bytes((folder / "out" / name).read_bytes())
    with opened(folder, shard=(1, 2)) as expected, opened(tmp_path, shard=(1, 2)) as found:
        for _ in range(5):
            theirs, ours = expected.next_batch(), found.next_batch()
            for top, blob in theirs.items():
                np.testing.assert_array_equal(ours[top], blob)
    with opened(tmp_path, shard=(0, 2)) as source, pytest.raises(MissingFileError, match=r"000000\.tar: no such shard"):
        source.next_batch()


def test_what_is_no_shard_is_named(folder: Path, tmp_path: Path, library: Any) -> None:
    def index(**fields: Any) -> Path:
        path = tmp_path / "index.json"
        path.write_text(json.dumps({"__kind__": "wids-shard-index-v1", **fields}))
        return path

    with pytest.raises(MissingFileError, match=r"nowhere\.json: no index of shards; `widsindex create`"):
        ShardRecords(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="expected an object of kind wids-shard-index-v1 with a shardlist"):
        ShardRecords(index(shardlist=[]))
    with pytest.raises(DataError, match=r"shard 1: .*expected a url, and nsamples of 1 or more"):
        ShardRecords(index(shardlist=[{"url": "a.tar"}]))
    with pytest.raises(MissingFileError, match=r"a\.tar: no such shard"):
        ShardRecords(index(shardlist=[{"url": "a.tar", "nsamples": 1}]))
    with pytest.raises(UsageError, match="a shard by 'pipe'; expected a file's name or an http address"):
        ShardRecords(index(shardlist=[{"url": "pipe:touch x", "nsamples": 1}]))
    first = (folder / "out" / "shard-000000.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(first)
    store = ShardRecords(index(shardlist=[{"url": "a.tar", "nsamples": 9}]))
    with pytest.raises(DataError, match=r"a\.tar: 3 samples; its index says more"):
        store[5]
    (tmp_path / "a.tar").write_bytes(first[: len(first) // 2])
    with pytest.raises(DataError, match=r"a\.tar: (not a whole shard|\d samples)"):
        ShardRecords(index(shardlist=[{"url": "a.tar", "nsamples": 3}]))[2]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(folder / "0.png", "0.png")
    with pytest.raises(DataError, match=r"a\.tar: 0: files .*; expected .json and a picture"):
        ShardRecords(index(shardlist=[{"url": "a.tar", "nsamples": 1}]))
    with pytest.raises(UsageError, match="shards are streamed in an order of their own, and not joined"):
        open_records(f"shards:{folder}/out/index.json + drawn:count=3")
