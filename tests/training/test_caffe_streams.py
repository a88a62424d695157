"""Claim: Caffe's own data layers give what Caffe's documentation of them says. Oracles: hand-worked files and blobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest
import torch

from cpm_port.caffe import message_class, parse_net, write_mean
from cpm_port.errors import DataError, LayerError, UnsupportedLayerError
from cpm_port.training.batches import DataSource, open_data_layers
from tests.imaging.test_reading import png_of
from tests.support import GOLDEN


def opened(text: str, *, phase: str = "TRAIN", **given: object) -> DataSource:
    return open_data_layers(parse_net(text, phase=phase), phase=phase, **given)


def write_datums(path: Path, datums: Sequence[dict[str, object]]) -> None:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        for number, fields in enumerate(datums):
            values = dict(fields)
            floats = values.pop("float_data", ())
            datum = message_class("Datum")(**values)
            datum.float_data.extend(floats)
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())


def image(number: int, height: int = 6, width: int = 7) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (3, height, width), dtype=np.uint8)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    write_datums(
        tmp_path / "db",
        [{"channels": 3, "height": 6, "width": 7, "data": image(n).tobytes(), "label": 10 + n} for n in range(3)],
    )
    return tmp_path / "db"


def data_layer(source: Path, transform: str = "", tops: str = 'top: "data" top: "label"', batch: int = 2) -> str:
    return f"""layer {{ name: "in" type: "Data" {tops} transform_param {{ {transform} }}
      data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def test_datums_come_in_key_order_and_begin_again(database: Path) -> None:
    with opened(data_layer(database)) as source:
        first, second = source.next_batch(), source.next_batch()
        names = source.describe_last()
    np.testing.assert_array_equal(first["data"], np.stack([image(0), image(1)]).astype(np.float32))
    np.testing.assert_array_equal(second["data"], np.stack([image(2), image(0)]).astype(np.float32))
    assert (first["label"].tolist(), second["label"].tolist()) == ([10, 11], [12, 10])
    assert [name[-8:] for name in names] == ["00000002", "00000000"]


def test_a_single_top_has_no_labels(database: Path) -> None:
    with opened(data_layer(database, tops='top: "data"')) as source:
        assert list(source.next_batch()) == ["data"]


def test_mean_crop_and_scale_are_applied_in_caffes_order(database: Path, tmp_path: Path) -> None:
    mean = np.arange(3 * 6 * 7, dtype=np.float32).reshape(3, 6, 7)
    write_mean(tmp_path / "mean.binaryproto", mean)
    transform = f'crop_size: 4 scale: 0.5 mean_file: "{tmp_path / "mean.binaryproto"}"'
    with opened(data_layer(database, transform), phase="TEST") as source:
        found = source.next_batch()["data"][0]
    np.testing.assert_array_equal(found, ((image(0) - mean) * 0.5)[:, 1:5, 1:5])


@pytest.mark.parametrize("values", [(104.0, 117.0, 123.0), (9.0,)])
def test_mean_values_are_per_channel_or_one_for_all(database: Path, values: tuple[float, ...]) -> None:
    transform = " ".join(f"mean_value: {value}" for value in values)
    with opened(data_layer(database, transform)) as source:
        found = source.next_batch()["data"][0]
    np.testing.assert_array_equal(found, image(0) - np.array(values, np.float32).reshape(-1, 1, 1))


def test_crops_and_mirrors_of_the_train_phase_vary_by_seed_and_place_alone(database: Path) -> None:
    text = data_layer(database, "crop_size: 3 mirror: true", batch=3)
    allowed = {
        flipped.tobytes(): (top, left)
        for top in range(4)
        for left in range(5)
        for cut in [image(0)[:, top : top + 3, left : left + 3]]
        for flipped in (cut.astype(np.float32), np.ascontiguousarray(cut[:, :, ::-1], np.float32))
    }
    found = []
    with opened(text, seed=1) as source, opened(text, seed=1, num_workers=2) as threaded:
        for _ in range(60):
            batch = source.next_batch()["data"]
            np.testing.assert_array_equal(batch, threaded.next_batch()["data"])
            found.append(batch[0].tobytes())
    assert set(found) <= set(allowed)
    assert len({allowed[crop] for crop in found}) > 10


def test_encoded_and_float_datums_are_read(tmp_path: Path) -> None:
    picture = np.ascontiguousarray(image(0).transpose(1, 2, 0))
    grey = np.ascontiguousarray(picture[:, :, 0])
    encoded = [cv2.imencode(".png", pixels)[1].tobytes() for pixels in (picture, grey)]
    write_datums(tmp_path / "color", [{"encoded": True, "data": encoded[0], "label": 4}])
    write_datums(tmp_path / "grey", [{"encoded": True, "data": encoded[1]}])
    write_datums(tmp_path / "float", [{"channels": 1, "height": 1, "width": 2, "float_data": (0.5, -2.25)}])
    shapes = []
    for name, transform in (
        ("color", ""),
        ("grey", ""),
        ("grey", "force_color: true"),
        ("color", "force_gray: true"),
        ("float", ""),
    ):
        with opened(data_layer(tmp_path / name, transform, batch=1)) as source:
            found = source.next_batch()["data"]
        shapes.append(found.shape)
        if name == "color" and not transform:
            np.testing.assert_array_equal(found[0], image(0).astype(np.float32))
    assert shapes == [(1, 3, 6, 7), (1, 1, 6, 7), (1, 3, 6, 7), (1, 1, 6, 7), (1, 1, 1, 2)]
    assert found.ravel().tolist() == [0.5, -2.25]


def test_records_of_several_sizes_come_in_batches_of_one(tmp_path: Path) -> None:
    """Raw and encoded: the blob takes each record's size, as Caffe reshapes it."""
    sizes = [(6, 7), (4, 9), (5, 5)]
    raw = [{"channels": 3, "height": h, "width": w, "data": image(n, h, w).tobytes()} for n, (h, w) in enumerate(sizes)]
    coded = [
        {"encoded": True, "data": cv2.imencode(".png", image(n, h, w).transpose(1, 2, 0))[1].tobytes()}
        for n, (h, w) in enumerate(sizes)
    ]
    for name, datums in (("raw", raw), ("coded", coded)):
        write_datums(tmp_path / name, datums)
        with opened(data_layer(tmp_path / name, batch=1)) as source:
            for number, (height, width) in enumerate([*sizes, sizes[0]]):
                np.testing.assert_array_equal(source.next_batch()["data"][0], image(number % 3, height, width))


def test_a_leveldb_is_named_with_the_way_out(tmp_path: Path) -> None:
    for name in ("CURRENT", "LOCK", "MANIFEST-000002", "000005.ldb"):
        (tmp_path / "db").mkdir(exist_ok=True)
        (tmp_path / "db" / name).touch()
    with pytest.raises(
        DataError, match=r"db: a LevelDB; expected an LMDB\. Four lines .*training_data.md.*--backend lmdb"
    ):
        opened(data_layer(tmp_path / "db"))


@pytest.mark.parametrize(
    ("datum", "transform", "message"),
    [
        ({"channels": 3, "height": 6, "width": 8, "data": bytes(3 * 6 * 8)}, "", r"image \(3, 6, 8\), the batch's are"),
        ({"channels": 3, "height": 2, "width": 7, "data": bytes(42)}, "crop_size: 4", "image of 7 x 2, crop_size is 4"),
        ({"channels": 3, "height": 6, "width": 7, "data": b"1"}, "", "1 values for the shape"),
        ({"encoded": True, "data": b"nothing"}, "", "cannot be read"),
    ],
)
def test_a_datum_that_does_not_fit_is_named(
    tmp_path: Path, datum: dict[str, object], transform: str, message: str
) -> None:
    good = {"channels": 3, "height": 6, "width": 7, "data": image(0).tobytes()}
    write_datums(tmp_path / "db", [good, datum])
    with (
        opened(data_layer(tmp_path / "db", transform)) as source,
        pytest.raises(DataError, match=f"record 00000001: .*{message}"),
    ):
        source.next_batch()


def test_fields_that_contradict_each_other_are_refused(database: Path, tmp_path: Path) -> None:
    write_mean(tmp_path / "mean.binaryproto", np.zeros((3, 6, 7), np.float32))
    both = f'mean_value: 1 mean_file: "{tmp_path / "mean.binaryproto"}"'
    with pytest.raises(LayerError, match="mean_file and mean_value"):
        opened(data_layer(database, both))


def test_means_of_another_number_are_refused_when_the_layer_is_opened(database: Path, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="expected 1 mean_value, or one for each of 3 channels, got 2"):
        opened(data_layer(database, "mean_value: 1 mean_value: 2"))
    write_mean(tmp_path / "one.binaryproto", np.zeros((1, 6, 7), np.float32))
    with pytest.raises(LayerError, match="expected a mean file for each of 3 channels, got 1"):
        opened(data_layer(database, f'mean_file: "{tmp_path / "one.binaryproto"}"'))


def hdf5_layer(source: Path, batch: int, more: str = "") -> str:
    return f"""layer {{ name: "in" type: "HDF5Data" top: "x" top: "y"
      hdf5_data_param {{ source: "{source}" batch_size: {batch} {more} }} }}"""


@pytest.fixture
def hdf5_list(tmp_path: Path) -> Path:
    first = 0
    for name, rows in (("a", 3), ("b", 2)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            numbers = np.arange(first, first + rows)
            file["x"] = np.repeat(numbers, 4).reshape(rows, 2, 2).astype(np.float64)
            file["y"] = numbers
        first += rows
    (tmp_path / "list.txt").write_text("a.h5\nb.h5\n")
    return tmp_path / "list.txt"


def test_hdf5_rows_run_through_the_files_and_begin_again(hdf5_list: Path) -> None:
    with opened(hdf5_layer(hdf5_list, 4)) as source:
        assert source.shapes == {"x": (4, 2, 2), "y": (4,)}
        found = [source.next_batch() for _ in range(3)]
        names = source.describe_last()
    assert np.concatenate([batch["y"] for batch in found]).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert all((batch["x"] == batch["y"][:, None, None]).all() for batch in found)
    assert [Path(name).name for name in names] == ["b.h5 row 0", "b.h5 row 1", "a.h5 row 0", "a.h5 row 1"]


def test_shuffled_hdf5_rows_are_all_there_in_every_epoch(hdf5_list: Path) -> None:
    with opened(hdf5_layer(hdf5_list, 5, "shuffle: true"), seed=2) as source:
        epochs = [tuple(source.next_batch()["y"].tolist()) for _ in range(6)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 2
    for epoch in epochs:  # whole files in turn, as Caffe shuffles
        assert {*epoch[:3]} == {0, 1, 2} or {*epoch[:2]} == {3, 4}


def test_the_solver_goldens_data_comes_in_order(tmp_path: Path) -> None:
    folder = GOLDEN / "caffe" / "solver"
    with h5py.File(folder / "train.h5") as file:
        data, label = file["data"][()], file["label"][()]
    text = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
      hdf5_data_param { source: "list.txt" batch_size: 2 } }"""
    (tmp_path / "list.txt").write_text(f"{folder / 'train.h5'}\n")
    with opened(text, root=tmp_path) as source:
        for number in range(7):
            rows = [(2 * number) % 10, (2 * number + 1) % 10]
            found = source.next_batch()
            np.testing.assert_array_equal(found["data"], data[rows])
            np.testing.assert_array_equal(found["label"], label[rows])


def test_hdf5_rows_of_another_shape_fill_the_first_files_shape_or_come_one_by_one(tmp_path: Path) -> None:
    """As many values are copied in order, as in Caffe; another number of them makes a batch of one of another shape."""
    rows = {
        "a": np.arange(12.0).reshape(2, 2, 3),
        "b": np.arange(6.0).reshape(1, 6),
        "c": np.arange(20.0).reshape(2, 10),
    }
    for name, values in rows.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = values
            file["y"] = np.zeros((len(values), 1) if name == "a" else len(values))
    listed = tmp_path / "list.txt"
    listed.write_text("a.h5\nb.h5\n")
    with opened(hdf5_layer(listed, 3)) as source:
        batch = source.next_batch()
    assert (batch["x"].shape, batch["y"].shape) == ((3, 2, 3), (3, 1))
    np.testing.assert_array_equal(batch["x"][2].ravel(), rows["b"][0])
    listed.write_text("a.h5\nb.h5\nc.h5\n")
    with opened(hdf5_layer(listed, 1)) as source:
        found = [source.next_batch()["x"] for _ in range(6)]
    assert [one.shape[1:] for one in found] == [(2, 3), (2, 3), (2, 3), (10,), (10,), (2, 3)]
    np.testing.assert_array_equal(found[4][0], rows["c"][1])
    with pytest.raises(
        DataError, match=r"c.h5 have another shape .*x \(10,\) and \(2, 3\); expected as many values, or"
    ):
        opened(hdf5_layer(listed, 2))


def test_hdf5_files_that_do_not_fit_are_named(hdf5_list: Path) -> None:
    folder = hdf5_list.parent
    with pytest.raises(DataError, match=r"a\.h5 has no data set z"):
        opened(hdf5_layer(hdf5_list, 2).replace('top: "y"', 'top: "z"'))
    with h5py.File(folder / "b.h5", "r+") as file:
        file["w"] = np.zeros((7, 1))
    (folder / "list.txt").write_text("b.h5")
    with pytest.raises(DataError, match="differ in length"):
        opened(hdf5_layer(hdf5_list, 2).replace('top: "y"', 'top: "w"'))
    (folder / "c.h5").write_bytes(b"no")
    (folder / "list.txt").write_text("c.h5")
    with pytest.raises(DataError, match=r"c\.h5: not a readable HDF5 file"):
        opened(hdf5_layer(hdf5_list, 2))
    (folder / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="list of files is empty"):
        opened(hdf5_layer(hdf5_list, 2))
    (folder / "list.txt").write_text("a.h5")
    with pytest.raises(LayerError, match="batch_size 0"):
        opened(hdf5_layer(hdf5_list, 0))


def test_dummy_data_is_filled_as_it_says() -> None:
    text = """layer { name: "in" type: "DummyData" top: "a" top: "b" dummy_data_param {
      shape { dim: 2 dim: 3 } shape { dim: 4 }
      data_filler { type: "constant" value: 2.5 } data_filler { type: "gaussian" mean: 10 std: 0.1 } } }"""
    with opened(text, seed=1) as source, opened(text, seed=1) as again, opened(text, seed=2) as other:
        first, second = source.next_batch(), source.next_batch()
        assert (first["a"] == 2.5).all()
        assert first["a"].shape == (2, 3)
        assert np.abs(first["b"] - 10).max() < 1
        assert (first["b"] != second["b"]).all()
        np.testing.assert_array_equal(first["b"], again.next_batch()["b"])
        assert (first["b"] != other.next_batch()["b"]).all()
        again.skip(0)
        assert source.describe_last() == []


def test_dummy_data_leaves_the_processs_random_numbers_alone() -> None:
    text = """layer { name: "in" type: "DummyData" top: "a"
      dummy_data_param { shape { dim: 9 } data_filler { type: "uniform" } } }"""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with opened(text) as source:
        source.next_batch()
    assert torch.equal(torch.rand(3), expected)


def test_dummy_data_in_its_old_form_is_zero() -> None:
    text = """layer { name: "in" type: "DummyData" top: "a" top: "b"
      dummy_data_param { num: 2 channels: 3 height: 4 width: 5 } }"""
    with opened(text) as source:
        found = source.next_batch()
    assert {name: blob.shape for name, blob in found.items()} == {"a": (2, 3, 4, 5), "b": (2, 3, 4, 5)}
    assert not found["b"].any()


def test_dummy_shapes_must_match_the_tops() -> None:
    text = 'layer { name: "in" type: "DummyData" top: "a" top: "b" top: "c" dummy_data_param { %s } }'
    for shapes in ("shape { dim: 1 } shape { dim: 2 }", ""):
        with pytest.raises(LayerError, match="shape for 3 tops"):
            opened(text % shapes)


def test_inputs_are_zeros_of_the_declared_shape() -> None:
    text = 'layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 2 dim: 5 } } }'
    with opened(text) as source, opened(text, shard=(1, 2)) as share:
        assert source.next_batch()["a"].tolist() == [[0] * 5] * 2
        assert share.next_batch()["a"].shape == (1, 5)
    with pytest.raises(LayerError, match="no shape declared for a"):
        opened('layer { name: "in" type: "Input" top: "a" }')


def test_hdf5_data_with_a_transform_is_refused_as_in_caffe(hdf5_list: Path) -> None:
    text = hdf5_layer(hdf5_list, 2).replace("hdf5_data_param", "transform_param { scale: 0.5 } hdf5_data_param")
    with pytest.raises(LayerError, match="layer 'in': has a transform_param, and HDF5Data does not transform data"):
        opened(text)


@pytest.mark.parametrize(
    ("form", "name"),
    [("bom", "c.h5"), ("crlf", "c.h5"), ("cr", "c.h5"), ("latin1", "\udce9.h5"), ("backslash", "deep/c.h5")],
)
def test_a_list_of_files_reads_however_it_was_written(form: str, name: str, hdf5_list: Path) -> None:
    folder = hdf5_list.parent
    (folder / "deep").mkdir()
    listed = next(folder / line for line in hdf5_list.read_text().split("\n") if line.strip())
    shutil.copy(listed, os.fsencode(folder / name))
    line = os.fsencode(name.replace("/", "\\") if form == "backslash" else name)
    ending = {"crlf": b"\r\n", "cr": b"\r"}.get(form, b"\n")
    hdf5_list.write_bytes((b"\xef\xbb\xbf" if form == "bom" else b"") + line + ending + line + ending)
    with opened(hdf5_layer(hdf5_list, 2)) as source:
        assert source.next_batch()["x"].shape[0] == 2


@pytest.mark.parametrize(("content", "told"), [(None, "an HDF5 file"), (b"\x00\x01\x02", "a binary file")])
def test_a_source_that_is_no_list_says_what_is_asked(content: bytes | None, told: str, hdf5_list: Path) -> None:
    listed = next(hdf5_list.parent / line for line in hdf5_list.read_text().split("\n") if line.strip())
    hdf5_list.write_bytes(listed.read_bytes() if content is None else content)
    with pytest.raises(DataError, match=rf"list.*is {told}; expected a text file that lists \.h5 files"):
        opened(hdf5_layer(hdf5_list, 2))


def test_a_data_layers_fields_of_unknown_meaning_are_refused(hdf5_list: Path) -> None:
    text = hdf5_layer(hdf5_list, 2, "zebra: 1")
    with pytest.raises(UnsupportedLayerError, match=r"layer 'in' \(HDF5Data\): 2:\d+: .*has no field 'zebra'"):
        opened(text)


def test_an_encoded_image_that_claims_much_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    bomb = png_of(13_000, 10, 2, claimed=13_000)
    write_datums(tmp_path / "db", [{"encoded": True, "data": bomb}])
    with pytest.raises(DataError, match="an image of 13000 x 13000, which takes 1128 MiB"):
        opened(data_layer(tmp_path / "db"))
