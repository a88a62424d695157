"""Claim: an official file is installed whole under its stable name, or not at all; `resolve` finds what a user means.

Oracle: files written here, and what lies in the folder afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cpm_port.errors import MissingFileError, ModelFileError, UsageError
from cpm_port.zoo import ENTRIES, ModelEntry, add, find_installed, models_dir, resolve, store
from cpm_port.zoo.choice import Choice, describe, describe_all
from tests.zoo.support import small_zoo, use_zoo, write_model


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelEntry]:
    return small_zoo(tmp_path_factory.mktemp("nets"))


@pytest.fixture
def models(zoo: dict[str, ModelEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of installed models, which does not exist yet."""
    monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: None)
    use_zoo(monkeypatch, zoo, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def official(zoo: dict[str, ModelEntry], tmp_path: Path) -> Path:
    """A file with the name and the layers of mpii-6s."""
    return write_model(tmp_path / "pose_iter_630000.caffemodel", zoo["mpii-6s"].net)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_installed_under_its_stable_name_with_its_hash(models: Path, official: Path) -> None:
    installed, new = add(official)
    assert new
    assert installed.weights == models / "mpii-6s" / "mpii-6s.caffemodel"
    assert installed.weights.read_bytes() == official.read_bytes()
    assert (installed.sha256, installed.bytes) == (sha256(official), official.stat().st_size)
    assert (installed.original_name, installed.recognised_by) == ("pose_iter_630000.caffemodel", "file name")
    assert installed.added.endswith("+00:00")
    assert sorted(path.name for path in (models / "mpii-6s").iterdir()) == ["model.json", "mpii-6s.caffemodel"]
    assert find_installed(ENTRIES["mpii-6s"]) == installed
    assert add(official) == (installed, False)
    assert resolve("mpii-6s") == Choice(ENTRIES["mpii-6s"].net, installed.weights, ENTRIES["mpii-6s"])


def test_an_hdf5_file_keeps_its_form(models: Path, zoo: dict[str, ModelEntry], tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.h5", zoo["flic-4s"].net)
    assert add(path)[0].weights.name == "flic-4s.caffemodel.h5"
    assert resolve("flic-4s").weights.suffix == ".h5"


def test_another_file_does_not_replace_an_installed_model(
    models: Path, official: Path, zoo: dict[str, ModelEntry], tmp_path: Path
) -> None:
    installed, _ = add(official)
    other = write_model(tmp_path / "other.caffemodel", zoo["mpii-6s"].net, seed=1)
    with pytest.raises(UsageError, match="mpii-6s is installed from another file"):
        add(other, "mpii-6s")
    assert sha256(installed.weights) == installed.sha256


def test_a_refused_file_leaves_nothing(models: Path, official: Path) -> None:
    official.write_bytes(official.read_bytes()[:-9])
    with pytest.raises(ModelFileError):
        add(official)
    assert not models.exists()


def test_an_interrupted_copy_leaves_no_model(models: Path, official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(store.shutil, "copyfile", torn)
        with pytest.raises(OSError, match="no space left"):
            add(official)
    assert list((models / "mpii-6s").iterdir()) == []
    assert find_installed(ENTRIES["mpii-6s"]) is None
    assert add(official)[1]


def test_two_at_once_give_one_whole_model(
    models: Path, official: Path, zoo: dict[str, ModelEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_model(tmp_path / "other.caffemodel", zoo["mpii-6s"].net, seed=1)
    copy, meanwhile = store.shutil.copyfile, []

    def slow(source: Path, target: Path) -> None:
        if not meanwhile:
            meanwhile.append(threads.submit(add, other, "mpii-6s"))
            with pytest.raises(TimeoutError):  # it waits
                meanwhile[0].result(timeout=0.5)
        copy(source, target)

    monkeypatch.setattr(store.shutil, "copyfile", slow)
    with ThreadPoolExecutor(1) as threads:
        installed, new = add(official)
        with pytest.raises(UsageError, match="is installed from another file"):
            meanwhile[0].result()
    assert new
    assert resolve("mpii-6s").weights.read_bytes() == official.read_bytes()
    assert find_installed(ENTRIES["mpii-6s"]) == installed


def test_a_file_that_changes_while_it_is_copied_is_not_installed(
    models: Path, official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = store.shutil.copyfile

    def rewritten(source: Path, target: Path) -> None:
        copy(source, target)
        with Path(target).open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(store.shutil, "copyfile", rewritten)
    with pytest.raises(ModelFileError, match="changed while it was copied"):
        add(official)
    assert list((models / "mpii-6s").iterdir()) == []


def test_a_known_hash_is_asked_of_the_file(models: Path, official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match=f"its SHA-256 is {sha256(official)}, expected {'0' * 64}"):
        add(official, sha256="0" * 64)
    monkeypatch.setitem(ENTRIES, "mpii-6s", replace(ENTRIES["mpii-6s"], sha256="1" * 64))
    with pytest.raises(ModelFileError, match=r"expected 1{64}"):
        add(official)
    monkeypatch.setitem(ENTRIES, "mpii-6s", replace(ENTRIES["mpii-6s"], sha256=sha256(official)))
    assert add(official, sha256=sha256(official))[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.json").write_text("{"), "not a model's record"),
        (lambda folder: (folder / "model.json").write_text("{}"), "not a model's record"),
        (lambda folder: (folder / "mpii-6s.caffemodel").unlink(), "is gone"),
        (lambda folder: os.truncate(folder / "mpii-6s.caffemodel", 50), "50 bytes, "),
        (
            lambda folder: (folder / "model.json").write_text(
                (folder / "model.json").read_text().replace('"mpii-6s"', '"lsp-6s"')
            ),
            "the record of 'lsp-6s'",
        ),
        (
            lambda folder: (folder / "model.json").write_text(
                (folder / "model.json").read_text().replace('"mpii-6s.caffemodel"', '"../x"')
            ),
            r"file '\.\./x'",
        ),
    ],
)
def test_a_damaged_installation_says_so(spoil: object, message: str, models: Path, official: Path) -> None:
    add(official)
    spoil(models / "mpii-6s")  # type: ignore[operator]
    with pytest.raises(ModelFileError, match=f"{message}.*remove .*mpii-6s and add the model again"):
        resolve("mpii-6s")
    assert message.replace("\\", "") in describe(ENTRIES["mpii-6s"])["problem"]
    assert not describe(ENTRIES["mpii-6s"])["present"]


def test_weights_that_changed_since_are_not_run(models: Path, official: Path) -> None:
    installed, _ = add(official)
    content = bytearray(installed.weights.read_bytes())
    content[-1] ^= 1
    installed.weights.write_bytes(content)
    with pytest.raises(ModelFileError, match="so it has changed since"):
        resolve("mpii-6s")


def test_files_of_the_users_own_are_taken_as_they_are(models: Path) -> None:
    assert resolve(net="a.prototxt", weights="b.h5") == Choice(Path("a.prototxt"), Path("b.h5"), None)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "lsp-6s", "net": "a", "weights": "b"}, "not both"),
        ({"model": "lsp-6s", "weights": "b"}, "not both"),
        ({"net": "a"}, "belong together"),
        ({"weights": "b"}, "belong together"),
        ({"model": "lsp"}, "'lsp' is unknown; expected one of default, mpii-lsp-6s"),
    ],
)
def test_contradictions_are_refused(said: dict, message: str, models: Path) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(**said)


def test_a_model_that_is_not_installed_says_what_to_do(models: Path) -> None:
    with pytest.raises(MissingFileError, match=r"Bring pose_iter_395000\.caffemodel and run `cpm-port models add"):
        resolve("lsp-6s")


def test_without_the_default_model_one_must_be_named(models: Path) -> None:
    for said in (None, "default"):
        with pytest.raises(MissingFileError, match=r"lacks its default model .*--net PROTOTXT and --weights MODEL"):
            resolve(said)
    assert not describe(ENTRIES["default"])["present"]


def test_nothing_said_means_the_default_model(
    models: Path, zoo: dict[str, ModelEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = zoo["default"]
    path = write_model(entry.net.with_name(entry.file_name), entry.net)
    try:
        assert resolve() == resolve("default") == Choice(entry.net, path, entry)
        assert describe(entry)["present"]
        monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: {"weights": {"sha256": sha256(path)}})
        assert resolve().weights == path
        assert describe(entry)["sha256"] == sha256(path)
        monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: {"weights": {"sha256": "0" * 64}})
        with pytest.raises(ModelFileError, match="so it has changed since"):
            resolve()
        assert "changed since" in describe(entry)["problem"]
    finally:
        path.unlink()


def test_the_list_says_what_is_there_and_where_the_rest_is_expected(models: Path, official: Path) -> None:
    add(official)
    rows = {row["name"]: row for row in describe_all()}
    assert list(rows) == list(ENTRIES)
    assert rows["mpii-6s"]["present"]
    assert rows["mpii-6s"]["sha256"] == sha256(official)
    absent = rows["mpii-lsp-6s"]
    assert (absent["present"], absent["sha256"], absent["problem"]) == (False, None, None)
    assert absent["path"] == str(models / "mpii-lsp-6s" / "mpii-lsp-6s.caffemodel")
    assert absent["original_file"] == "pose_iter_985000_addLEEDS.caffemodel"
    assert json.loads(json.dumps(list(rows.values())))  # all of it is JSON


def test_the_folder_of_models_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/ann")
    monkeypatch.delenv("CPM_PORT_MODELS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert models_dir() == Path("/users/ann/.local/share/cpm_port/models")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert models_dir() == Path("/data/cpm_port/models")
    monkeypatch.setenv("CPM_PORT_MODELS", "~/models")
    assert models_dir() == Path("/users/ann/models")
