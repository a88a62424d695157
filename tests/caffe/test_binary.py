"""Binary models are read without copying, refused when absurd, and written back byte for byte.

Oracles: files that real Caffe wrote; messages encoded by hand (`support.py`).
"""

import dataclasses
import mmap
import os
import struct
import time

import numpy as np
import pytest
from google.protobuf.internal import api_implementation

from cpm_port.caffe import binary, message_class, read_mean, read_model, read_net, read_solverstate, read_weights, wire
from cpm_port.caffe.binary import new_blob
from cpm_port.errors import CaffeFormatError, CpmPortError, MissingFileError, ShapeError
from tests.caffe.support import (
    CAFFEMODELS,
    LAYERS,
    SOLVER,
    dims,
    field,
    floats,
    layer,
    model_with,
    number_field,
    shared_files,
    varint,
)


def write(folder, data: bytes, name: str = "net.caffemodel"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("path", [*CAFFEMODELS, *shared_files("**/*.caffemodel")], ids=lambda path: path.name)
def test_reading_and_writing_gives_the_same_bytes(path, tmp_path):
    copy = tmp_path / "copy.caffemodel"
    read_model(path).save(copy)
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: path.name)
def test_encoding_anew_gives_the_bytes_that_caffe_wrote(path, tmp_path):
    copy = tmp_path / "copy.caffemodel"
    dataclasses.replace(read_model(path), _origin=None).save(copy)
    assert copy.read_bytes() == path.read_bytes()


def test_a_model_may_be_written_over_its_own_file(tmp_path):
    original = (SOLVER / "init.caffemodel").read_bytes()
    path = write(tmp_path, original)
    model = read_model(path)
    model.save(path)
    assert path.read_bytes() == original


def test_changed_layers_are_written_changed_and_others_kept(tmp_path):
    model = read_model(SOLVER / "init.caffemodel")
    index = [layer.name for layer in model.message.layer].index("conv2")
    weight, bias = model.blobs[index]
    blobs = list(model.blobs)
    blobs[index] = (new_blob(weight.array * 2, "bvlc"), bias)
    path = tmp_path / "changed.caffemodel"
    dataclasses.replace(model, blobs=tuple(blobs)).save(path)
    before, after = read_weights(SOLVER / "init.caffemodel"), read_weights(path)
    assert np.array_equal(after["conv2"][0], before["conv2"][0] * 2)
    assert np.array_equal(after["conv2"][1], before["conv2"][1])
    assert np.array_equal(after["conv1"][0], before["conv1"][0])


def test_unknown_fields_survive_at_every_level(tmp_path):
    strange = field(999, b"strange") + number_field(998, 7)
    blob = floats([1.0, 2.0]) + dims(2) + strange
    data = field(1, b"net") + layer("ip", "InnerProduct", field(7, blob), strange) + strange
    path, copy = write(tmp_path, data), tmp_path / "copy.caffemodel"
    model = read_model(path)
    model.message.layer[0].name = "renamed"
    model.save(copy)
    assert copy.read_bytes().count(strange) == 3
    assert list(read_weights(copy)["renamed"][0]) == [1.0, 2.0]


def test_arrays_are_read_only_views_of_the_file():
    (weight, bias) = read_weights(SOLVER / "init.caffemodel")["conv1"]
    for array in (weight, bias):
        assert not array.flags.writeable
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base, mmap.mmap) or isinstance(getattr(base, "obj", None), mmap.mmap)


@pytest.mark.parametrize("path", sorted(SOLVER.glob("*_iter_10.caffemodel")), ids=lambda path: path.name)
def test_values_are_those_of_the_training_run(path):
    with np.load(SOLVER / f"{path.name.removesuffix('_iter_10.caffemodel')}.npz") as run:
        for name, arrays in read_weights(path).items():
            for index, array in enumerate(arrays):
                assert array.dtype == np.float32
                np.testing.assert_array_equal(array, run[f"w/{name}/{index}"][10])


VALUES = [1.0, -2.5, 3.0, 4.0, 5.0, 6.0]
UNPACKED = b"".join(b"\x2d" + struct.pack("<f", value) for value in VALUES)
UNPACKED_DOUBLE = b"".join(b"\x41" + struct.pack("<d", value) for value in VALUES)
HALF = number_field(10, 2) + field(12, struct.pack("<6e", *VALUES))  # as NVIDIA's fork writes
LEGACY = number_field(1, 1) + number_field(2, 1) + number_field(3, 2) + number_field(4, 3)


@pytest.mark.parametrize(
    ("blob", "shape", "dtype"),
    [
        (floats(VALUES) + dims(2, 3), (2, 3), np.float32),
        (dims(2, 3) + floats(VALUES), (2, 3), np.float32),
        (UNPACKED + dims(2, 3), (2, 3), np.float32),
        (UNPACKED[:10] + dims(2, 3) + UNPACKED[10:], (2, 3), np.float32),
        (floats(VALUES[:2]) + UNPACKED[10:20] + floats(VALUES[4:]) + dims(2, 3), (2, 3), np.float32),
        (field(8, struct.pack("<6d", *VALUES)) + dims(3, 2), (3, 2), np.float64),
        (UNPACKED_DOUBLE + dims(6), (6,), np.float64),
        (LEGACY + floats(VALUES), (1, 1, 2, 3), np.float32),
        (LEGACY + floats(VALUES) + dims(6), (1, 1, 2, 3), np.float32),
        (floats(VALUES) + field(7, b"".join(number_field(1, dim) for dim in (2, 3))), (2, 3), np.float32),
        (field(5, b"") + floats(VALUES) + field(8, b"") + dims(6), (6,), np.float32),
        (dims(2, 3) + HALF, (2, 3), np.float32),
        (dims(6) + number_field(10, 1) + field(12, struct.pack("<6f", *VALUES)), (6,), np.float32),
        (dims(6) + number_field(10, 0) + field(12, struct.pack("<6d", *VALUES)), (6,), np.float64),
    ],
    ids=[
        "packed", "shape first", "unpacked", "unpacked in two runs", "split", "double", "unpacked double", "legacy",
        "legacy wins over shape", "unpacked shape", "empty pieces", "half", "raw float", "raw double",
    ],
)  # fmt: skip
def test_every_form_of_blob_reads(tmp_path, blob, shape, dtype):
    (array,) = read_weights(write(tmp_path, model_with(blob)))["ip"]
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.reshape(-1).tolist() == VALUES
    assert not array.flags.writeable


def test_half_precision_stays_as_it_is_in_an_unchanged_file_and_is_written_as_float_in_a_changed_one(tmp_path):
    path, copy = write(tmp_path, model_with(dims(2, 3) + HALF)), tmp_path / "copy.caffemodel"
    model = read_model(path)
    model.save(copy)
    assert copy.read_bytes() == path.read_bytes()
    dataclasses.replace(model, _origin=None).save(copy)
    assert copy.read_bytes() == write(tmp_path, model_with(floats(VALUES) + dims(2, 3))).read_bytes()


def test_a_blob_without_dimensions_is_one_value(tmp_path):
    (array,) = read_weights(write(tmp_path, model_with(floats([2.5]) + field(7, b""))))["ip"]
    assert array.shape == ()
    assert array == 2.5


def test_nan_and_infinity_read_like_other_values(tmp_path):
    (array,) = read_weights(write(tmp_path, model_with(floats([np.nan, np.inf]) + dims(2))))["ip"]
    assert np.isnan(array[0])
    assert np.isinf(array[1])


def test_gradients_are_kept_beside_the_values(tmp_path):
    diff = field(6, struct.pack("<2f", 0.5, 0.25))
    path, copy = write(tmp_path, model_with(floats([1.0, 2.0]) + diff + dims(2))), tmp_path / "copy.caffemodel"
    model = read_model(path)
    assert model.blobs[0][0].diff.tolist() == [0.5, 0.25]
    dataclasses.replace(model, _origin=None).save(copy)
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("blob", "what"),
    [
        (floats(VALUES) + dims(2, 2), r"shape 2x2 means 4 values, the file has 6"),
        (floats(VALUES) + dims(7), r"shape 7 means 7 values, the file has 6"),
        (floats(VALUES), r"shape \(\) means 1 values, the file has 6"),
        (dims(3), r"shape 3 means 3 values, the file has 0"),
        (floats(VALUES) + dims(-6), r"shape -6 is negative or overflows"),
        (floats(VALUES) + dims(-2, -3), r"shape -2x-3 is negative or overflows"),
        (floats(VALUES) + dims(2**62, 2**62), r"is negative or overflows"),
        (dims(0, 2**31 - 1, 2**31 - 1), r"is negative or overflows"),
        (floats(VALUES) + dims(2**32), r"is negative or overflows"),
        (floats(VALUES) + dims(*[1] * 33), r"more than 32 dimensions"),
        (floats(VALUES) + dims(*[1] * 5000), r"more than 32 dimensions"),
        (number_field(1, 2**63) + floats(VALUES), r"negative or overflows|means 0 values"),
        (floats([1.0]) + field(8, struct.pack("<d", 1.0)) + dims(1), r"float and double values"),
        (field(5, b"\0" * 7) + dims(2), r"a blob's data has 7 bytes, not a multiple of 4"),
        (field(8, b"\0" * 12) + dims(2), r"a blob's double_data has 12 bytes, not a multiple of 8"),
        (dims(6) + field(12, b"\0" * 12), r"raw_data of type 0; expected double, float or half"),
        (dims(6) + number_field(10, 3) + field(12, b"\0" * 24), r"raw_data of type 3; expected double"),
        (dims(6) + number_field(10, 2) + field(12, b"\0" * 11), r"raw_data has 11 bytes, not whole numbers"),
        (dims(6) + floats(VALUES) + HALF, r"has data and raw_data"),
    ],
)
def test_absurd_blobs_are_refused_with_layer_and_blob(tmp_path, blob, what):
    with pytest.raises(CaffeFormatError, match=rf"net\.caffemodel: (layer 'ip', blob 0|byte \d+): .*{what}"):
        read_weights(write(tmp_path, model_with(blob)))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty"),
        (b"\x0a\xff\xff\xff\xff\x0f" + b"\0" * 20, "byte 0: field 1 needs 4294967295 bytes, 20 are left"),
        (b"\x0a\x03ab", "truncated"),
        (b"\0" * 100, "found field number 0"),
        (b"\xff" * 100, "varint longer than 10 bytes"),
        (b"\x0a\x01a\xff", "ends inside a varint"),
        (b"\x0b" * 50, "wire type 3"),
        (b"\x0a\x01a\x0c", "wire type 4"),
        (b"name: 'a'\nlayer { }", "text file"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
        (b"PK\x03\x04" + b"\0" * 60, "this is a zip archive"),
        (b"\x0a\x02\xff\xfe", "not UTF-8|not a NetParameter"),
        (layer("x", "y") + field(2, field(4, b"old")), "mixes 1 old 'layers' and 1 new 'layer'"),
        (field(2, field(1, field(1, b"v0"))) + field(2, field(4, b"v1")), "mixes V0 layers .1. and V1 layers .1."),
    ],
)
def test_files_of_other_kinds_are_refused_by_name(tmp_path, data, what):
    with pytest.raises(CaffeFormatError, match=rf"net\.caffemodel: .*({what})"):
        read_model(write(tmp_path, data))


@pytest.mark.parametrize("reader", [read_model, read_weights, read_mean, read_solverstate])
def test_missing_files_and_folders_are_told_apart(tmp_path, reader):
    with pytest.raises(MissingFileError, match="no such file"):
        reader(tmp_path / "none.caffemodel")
    with pytest.raises(CaffeFormatError, match="is a folder"):
        reader(tmp_path)
    with pytest.raises(MissingFileError):
        reader(write(tmp_path, b"x", "file") / "below")


@pytest.mark.parametrize("reader", [read_model, read_weights, read_net, read_mean, read_solverstate])
def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaffeFormatError, match=r"pipe: not a regular file"):
        reader(tmp_path / "pipe")


@pytest.mark.parametrize(
    "path", [LAYERS / "batchnorm_scale.caffemodel", LAYERS / "v1_layers.caffemodel"], ids=lambda p: p.name
)
def test_every_truncation_gives_a_shorter_model_or_an_error(tmp_path, path):
    whole = path.read_bytes()
    errors = 0
    for length in range(1, len(whole), 1 if len(whole) < 500 else 7):
        cut = write(tmp_path, whole[:length])
        try:
            read_weights(cut)
        except CpmPortError:
            errors += 1
    assert errors > 0


@pytest.mark.parametrize(
    "data",
    [
        b"\xa2\x06\x00" * 3_000_000,
        layer("x", "y", b"\x32\x00" * 3_000_000),
        model_with(b"\x2d\0\0\0\0\x08\x01" * 1_000_000),
        field(999, b"\0" * (9 << 20)),
        b"\x08\x01" * 3_000_000,
    ],
    ids=["empty layers", "empty params", "numbers in a million runs", "one great field", "tiny fields"],
)
def test_floods_are_refused_soon(tmp_path, data):
    path = write(tmp_path, data)
    start = time.process_time()
    with pytest.raises(CaffeFormatError, match="no Caffe file has so many"):
        read_model(path)
    assert time.process_time() - start < 5, "seconds, on a slow and busy machine"


def test_nested_groups_inside_a_submessage_do_not_overflow(tmp_path):
    bomb = field(106, b"\x0b" * 200_000)
    with pytest.raises(CaffeFormatError, match="not a NetParameter"):
        read_model(write(tmp_path, layer("x", "Convolution", bomb)))


@pytest.mark.skipif(api_implementation.Type() == "python", reason="protobuf without its C code refuses such strings")
def test_strings_of_another_dialect_may_be_any_bytes(tmp_path):
    data = layer("x", "Convolution", field(106, field(7, field(1, b"\xff\xfe"))))
    path, copy = write(tmp_path, data), tmp_path / "copy.caffemodel"
    dataclasses.replace(read_model(path), _origin=None).save(copy)
    assert copy.read_bytes() == data
    params = read_net(path).layers[0].params
    assert params.convolution_param.weight_filler.type == "\\xff\\xfe"
    assert r"\377\376" in repr(params)


def test_what_protobuf_could_not_read_is_not_written(tmp_path, monkeypatch):
    with pytest.raises(ShapeError, match="at most 32 axes and 2147483647 values"):
        new_blob(np.broadcast_to(np.float32(0), (1 << 31,)), "bvlc")
    with pytest.raises(ShapeError, match="at most 32 axes"):
        new_blob(np.zeros((1,) * 33, np.float32), "bvlc")
    monkeypatch.setattr(binary, "MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(CaffeFormatError, match=r"has \d+ bytes; protobuf's limit is 1000"):
        read_model(SOLVER / "init.caffemodel").save(tmp_path / "copy.caffemodel")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**35])
def test_varints_encode_as_the_format_says(value):
    assert wire.encode_varint(value) == varint(value)


def test_splice_puts_fields_before_the_next_higher_number():
    small = field(1, b"a") + field(9, b"b")
    pieces = wire.splice(small, [(5, [field(5, b"x"), field(5, b"y")]), (12, [field(12, b"z")])])
    assert b"".join(pieces) == field(1, b"a") + field(5, b"x") + field(5, b"y") + field(9, b"b") + field(12, b"z")


def test_plain_protobuf_reads_what_we_write(tmp_path):
    path = tmp_path / "copy.caffemodel"
    dataclasses.replace(read_model(SOLVER / "init.caffemodel"), _origin=None).save(path)
    net = message_class("NetParameter")()
    net.ParseFromString(path.read_bytes())
    ours = read_weights(path)
    for entry in net.layer:
        for index, blob in enumerate(entry.blobs):
            np.testing.assert_array_equal(
                np.array(blob.data, np.float32).reshape(blob.shape.dim), ours[entry.name][index]
            )


@pytest.mark.parametrize("generation", ["V0", "V1", "V2"])
def test_every_generation_keeps_its_blobs_where_it_has_them(tmp_path, generation):
    blob = LEGACY + floats(VALUES)
    encoded = {
        "V0": field(2, field(1, field(1, b"ip") + field(2, b"innerproduct") + field(50, blob)) + field(3, b"out")),
        "V1": field(2, field(3, b"out") + field(4, b"ip") + number_field(5, 14) + field(6, blob)),
        "V2": layer("ip", "InnerProduct", field(4, b"out"), field(7, blob)),
    }[generation]
    path, copy = write(tmp_path, field(1, b"net") + encoded), tmp_path / "copy.caffemodel"
    weights = read_weights(path)
    assert weights.generation == generation
    assert weights.types == {"ip": "InnerProduct"}
    assert weights["ip"][0].tolist() == [[[VALUES[:3], VALUES[3:]]]]
    dataclasses.replace(read_model(path), _origin=None).save(copy)
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("outer_first", [True, False])
def test_blobs_beside_a_v0_layer_are_nobodys(outer_first, tmp_path):
    """Of such an entry Caffe takes bottoms, tops and the inner layer alone; the oracle is worked by hand."""

    def entry(name: str, value: float, *beside: bytes) -> bytes:
        inner = field(1, name.encode()) + field(2, b"innerproduct") + field(50, floats([value]) + dims(1))
        parts = [field(1, inner), *beside]
        return field(2, b"".join(reversed(parts) if outer_first else parts))

    strays = [field(6, floats([777.0, 778.0]) + dims(2)), field(6, floats([779.0]) + dims(1))]
    path = write(tmp_path, entry("first", 1.0, *strays) + entry("second", 2.0))
    weights = read_weights(path)
    assert {name: [blob.tolist() for blob in blobs] for name, blobs in weights.items()} == {
        "first": [[1.0]],
        "second": [[2.0]],
    }
    assert "layer 'first': 2 blobs beside its V0 layer; not read, as in Caffe" in weights.notes
    copy = tmp_path / "copy.caffemodel"
    dataclasses.replace(read_model(path), _origin=None).save(copy)
    assert read_weights(copy)["second"][0].tolist() == [2.0]
