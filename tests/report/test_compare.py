"""`compare` finds where a net leaves its reference: the oracle is a change put into one place by the test itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cpm_port
from cpm_port.caffe import parse_net
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.graph import CaffeNet
from cpm_port.report.compare import compare, compare_text, forward_arrays, read_arrays

TEXT = """
input: "data" input_shape { dim: 1 dim: 2 dim: 6 dim: 6 }
layer { name: "zz_first" type: "Convolution" bottom: "data" top: "zz"
        convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "zz" top: "zz" }
layer { name: "second" type: "Convolution" bottom: "zz" top: "mm"
        convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "third" type: "TanH" bottom: "mm" top: "aa" }
"""


@pytest.fixture(scope="module")
def net() -> CaffeNet:
    return cpm_port.load_net(parse_net(TEXT))


@pytest.fixture
def reference(net: CaffeNet) -> dict[str, np.ndarray]:
    data = np.random.RandomState(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    return {"data": data, **forward_arrays(net, {"data": data}, ["zz", "mm"], "test")}


def test_a_net_agrees_with_itself(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    found = compare(net, reference, reference)
    assert found.first is None
    assert [row.blob for row in found.rows] == ["zz", "mm", "aa"]
    assert all(row.max_abs == 0 and row.cosine == pytest.approx(1) for row in found.rows)
    assert "3 blobs agree within 1e-05" in compare_text(found)


def test_the_first_to_diverge_is_first_in_the_nets_order(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    reference["aa"] = reference["aa"] + 1
    reference["mm"] = reference["mm"].copy()
    reference["mm"].flat[5] += 0.5
    found = compare(net, reference, reference)
    assert found.first is not None
    assert (found.first.blob, found.first.layers) == ("mm", ("second",))
    assert found.first.max_abs == pytest.approx(0.5, rel=1e-5)
    assert found.first.relative == pytest.approx(0.5 / np.abs(reference["mm"]).max(), rel=1e-5)
    assert "2 of 3 blobs differ" in compare_text(found)
    assert "first to diverge: blob 'mm', written by second" in compare_text(found)


def test_a_blob_changed_in_place_names_all_its_writers(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    found = compare(net, reference, reference)
    assert found.rows[0].layers == ("zz_first", "relu")


def test_the_tolerance_is_relative_to_the_largest_value(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    scale = np.abs(reference["mm"]).max()
    reference["mm"] = reference["mm"] + np.float32(1e-3) * scale
    assert compare(net, reference, reference, tolerance=2e-3).first is None
    assert compare(net, reference, reference, tolerance=5e-4).first is not None


def test_a_misshapen_reference_fails_and_a_missing_one_is_said(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    reference["zz"] = reference["zz"][:1]
    del reference["aa"]
    found = compare(net, reference, reference)
    rows = {row.blob: row for row in found.rows}
    assert (rows["zz"].problem, rows["zz"].within) == ("reference is 1x3x4x4", False)
    assert (rows["aa"].problem, rows["aa"].within) == ("no reference", True)


def test_names_that_the_net_lacks_are_listed(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    found = compare(net, {**reference, "data_split_0": reference["data"]}, reference)
    assert found.strangers == ("data_split_0",)
    assert "in the reference, not in this net: data_split_0" in compare_text(found)


@pytest.mark.parametrize(("value", "within"), [(np.nan, True), (np.inf, True), (0.0, False)])
def test_not_finite_values_agree_with_themselves_only(value: float, within: bool) -> None:
    spec = 'input: "data" input_shape { dim: 1 dim: 3 } layer { name: "p" type: "Power" bottom: "data" top: "out" }'
    net = cpm_port.load_net(parse_net(spec))
    data = np.array([[1.0, 2.0, value or np.nan]], np.float32)
    reference = {"data": data, "out": np.array([[1.0, 2.0, value]], np.float32)}
    assert (compare(net, reference, reference).first is None) == within


def test_nothing_to_compare_is_an_error(net: CaffeNet, reference: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"none of its arrays \(data, x\) is a blob"):
        compare(net, {"data": reference["data"], "x": reference["aa"]}, reference)
    with pytest.raises(UsageError, match="no arrays for the net's inputs data"):
        compare(net, reference, {"mm": reference["mm"]})
    with pytest.raises(DataError, match="input 'data' holds <U"):
        compare(net, reference, {"data": np.array(["a"])})


def test_arrays_are_read_with_and_without_prefixes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"in/data": np.ones(2), "blob/out": np.zeros(3), "plain": np.ones(1)})
    assert list(read_arrays(tmp_path / "a.npz")) == ["data", "out", "plain"]


def test_files_that_are_no_arrays_by_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_arrays(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(DataError, match="one array without a name"):
        read_arrays(tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("not arrays")
    with pytest.raises(DataError, match=r"text\.npz: not a whole \.npz"):
        read_arrays(tmp_path / "text.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"objects\.npz: not a whole \.npz of plain arrays"):
        read_arrays(tmp_path / "objects.npz")
    np.savez(tmp_path / "twice.npz", **{"in/a": np.ones(1), "blob/a": np.ones(1)})
    with pytest.raises(DataError, match="two arrays for blob 'a'"):
        read_arrays(tmp_path / "twice.npz")
    whole = (tmp_path / "twice.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.npz"):
        read_arrays(tmp_path / "half.npz")


def test_an_archive_that_asks_for_more_than_python_reads_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    central = whole.rindex(b"PK\x01\x02")
    whole[central + 8] |= 1  # the flag of an encrypted member
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.npz: not a whole \.npz"):
        read_arrays(tmp_path / "a.npz")
