"""Claim: a file is recognised by its layers and shapes, and whatever is not a whole, finite official model is refused.

Oracle: files written here and spoiled by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import parse_net, write_weights
from cpm_port.errors import MissingFileError, ModelFileError, UsageError
from cpm_port.zoo import ENTRIES, ModelEntry, recognise
from cpm_port.zoo.recognition import check_weights, weight_bytes
from tests.zoo.support import random_blobs, small_zoo, use_zoo, write_model

SIX_STAGES = ("mpii-lsp-6s", "mpii-6s", "lsp-6s")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelEntry]:
    return small_zoo(tmp_path_factory.mktemp("nets"))


@pytest.fixture(autouse=True)
def small(zoo: dict[str, ModelEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_zoo(monkeypatch, zoo, tmp_path / "models")


@pytest.mark.parametrize("name", ["flic-4s", "mpii-vgg", "person"])
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_a_net_of_its_own_tells_the_model_whatever_the_file_is_called(
    name: str, suffix: str, zoo: dict[str, ModelEntry], tmp_path: Path
) -> None:
    path = write_model(tmp_path / f"anything{suffix}", zoo[name].net)
    assert recognise(path) == (zoo[name], "layers and shapes")
    assert recognise(path, name) == (zoo[name], "layers and shapes")


@pytest.mark.parametrize("name", SIX_STAGES)
def test_the_authors_file_names_tell_apart_what_shares_a_net(
    name: str, zoo: dict[str, ModelEntry], tmp_path: Path
) -> None:
    path = write_model(tmp_path / zoo[name].file_name, zoo[name].net)
    assert recognise(path) == (zoo[name], "file name")
    assert recognise(path, name) == (zoo[name], "file name")
    moved = path.rename(tmp_path / "model.part")
    assert recognise(moved, file_name=zoo[name].file_name.upper()) == (zoo[name], "file name")
    assert recognise(moved, name) == (zoo[name], "the user")


def test_what_shares_a_net_and_has_another_name_must_be_said(zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    path = write_model(tmp_path / "pose.caffemodel", zoo["mpii-6s"].net)
    with pytest.raises(UsageError, match=r"mpii-lsp-6s, mpii-6s, lsp-6s have the same layers.*--as NAME"):
        recognise(path)


def test_a_name_that_contradicts_the_layers_or_the_file_is_refused(zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    path = write_model(tmp_path / zoo["lsp-6s"].file_name, zoo["lsp-6s"].net)
    with pytest.raises(UsageError, match="not flic-4s: its layers are those of mpii-lsp-6s, mpii-6s, lsp-6s"):
        recognise(path, "flic-4s")
    with pytest.raises(UsageError, match="its name is that of lsp-6s, not mpii-6s"):
        recognise(path, "mpii-6s")
    with pytest.raises(UsageError, match="'nobody' is unknown"):
        recognise(path, "nobody")
    with pytest.raises(UsageError, match="not default"):
        recognise(path, "default")


def spoiled(change: Callable[[dict], None], zoo: dict[str, ModelEntry], path: Path) -> Path:
    """Write flic's model with changed weights."""
    net = parse_net(zoo["flic-4s"].net.read_text())
    blobs = random_blobs(zoo["flic-4s"].net)
    change(blobs)
    write_weights(path, blobs, net)
    return path


def nan(blobs: dict) -> None:
    blobs["conv5_stage1"][0][1, 0, 2, 2] = np.nan


def infinite(blobs: dict) -> None:
    blobs["conv5_stage1"][1][:] = np.inf


def zero(blobs: dict) -> None:
    blobs["Mconv2_stage2"][0][:] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, "layer 'conv5_stage1', parameter 0: 1 of 324 values are NaN or infinite"),
        (infinite, "layer 'conv5_stage1', parameter 1: 2 of 2 values are NaN or infinite"),
        (zero, "layer 'Mconv2_stage2': all its weights are zero; is the file only half written?"),
    ],
)
def test_values_that_cannot_be_are_refused(
    change: Callable[[dict], None], message: str, zoo: dict[str, ModelEntry], tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=message.replace("?", r"\?")):
        recognise(spoiled(change, zoo, tmp_path / "a.caffemodel"))


def without_last(blobs: dict) -> None:
    del blobs["Mconv5_stage2"]


def narrower(blobs: dict) -> None:
    blobs["conv4_stage1"] = [blob[:1] for blob in blobs["conv4_stage1"]]


def without_bias(blobs: dict) -> None:
    blobs["conv4_stage1"] = blobs["conv4_stage1"][:1]


@pytest.mark.parametrize(
    ("change", "count", "first"),
    [
        (without_last, 1, "layer 'Mconv5_stage2' is missing"),
        (narrower, 1, "layer 'conv4_stage1' has 1 x 2 x 5 x 5 and 1, expected 2 x 2 x 5 x 5 and 2"),
        (without_bias, 1, "layer 'conv4_stage1' has 2 x 2 x 5 x 5, expected 2 x 2 x 5 x 5 and 2"),
    ],
)
def test_another_model_is_refused_with_the_nearest_and_the_first_difference(
    change: Callable[[dict], None], count: int, first: str, zoo: dict[str, ModelEntry], tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError) as caught:
        recognise(spoiled(change, zoo, tmp_path / "a.caffemodel"))
    assert f"Nearest is flic-4s with its 16 layers; {count} of the file's differ, the first: " in str(caught.value)
    assert str(caught.value).endswith(first)


def test_layers_besides_the_nets_are_refused(zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    extra = 'layer { name: "extra" type: "Convolution" bottom: "image" top: "e" '
    extra += "convolution_param { num_output: 1 kernel_size: 1 } }"
    net = tmp_path / "more.prototxt"
    net.write_text(zoo["flic-4s"].net.read_text() + extra)
    with pytest.raises(ModelFileError, match="layer 'extra' is not part of that net"):
        recognise(write_model(tmp_path / "a.caffemodel", net))


def test_a_legacy_bias_of_four_axes_fits(zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    def legacy(blobs: dict) -> None:
        for pair in blobs.values():
            pair[1] = pair[1].reshape(1, 1, 1, -1)

    assert recognise(spoiled(legacy, zoo, tmp_path / "a.caffemodel"))[0] is zoo["flic-4s"]


def test_a_file_that_is_cut_anywhere_is_refused(zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    whole = write_model(tmp_path / "a.caffemodel", zoo["flic-4s"].net).read_bytes()
    cut = tmp_path / "cut.caffemodel"
    for share in np.linspace(0, 1, 40, endpoint=False):
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ModelFileError):
            recognise(cut)
    cut.write_bytes(whole[:-1])
    with pytest.raises(ModelFileError, match="not a whole model"):
        recognise(cut)


@pytest.mark.parametrize("content", [b"<!doctype html><title>404</title>", b"name: 'mpi'", b"\x00" * 999, b""])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "page.caffemodel"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a whole model"):
        recognise(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.caffemodel"):
        recognise(tmp_path / "none.caffemodel")


def test_a_full_size_official_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real nets
    entry = ENTRIES["flic-4s"]
    net = parse_net(entry.net.read_text())
    blobs = {name: [np.full_like(blob, 0.5) for blob in pair] for name, pair in random_blobs(entry.net).items()}
    path = tmp_path / entry.file_name
    write_weights(path, blobs, net)
    assert weight_bytes(entry) < path.stat().st_size < weight_bytes(entry) + 20_000
    assert recognise(path) == (entry, "layers and shapes")
    path.unlink()


def test_the_default_models_net_is_no_official_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real nets
    default = ENTRIES["default"]
    weights = default.net.with_name(default.file_name)
    if not weights.is_file():
        pytest.skip("the default model is not part of this checkout")
    assert check_weights(weights, [default]) == (default,)
    with pytest.raises(
        ModelFileError, match=r"a net like default, which is part of the package; .* --net \S+ --weights"
    ):
        recognise(weights)
