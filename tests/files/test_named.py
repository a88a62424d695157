"""A file that another file names is found where Caffe was started: here, beside that file, or in a folder above it.

Oracle: folders laid out as Caffe's own examples.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cpm_port.files.named import find_named


@pytest.fixture
def caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of Caffe and, elsewhere, the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "caffe" / "examples" / "mnist").mkdir(parents=True)
    return tmp_path / "caffe"


def test_a_path_from_caffes_root_is_found_above_the_file_that_names_it(caffe: Path) -> None:
    net = caffe / "examples" / "mnist" / "net.prototxt"
    net.touch()
    assert find_named("examples/mnist/net.prototxt", net.parent) == net
    assert find_named("net.prototxt", net.parent) == net
    assert find_named("examples\\mnist\\net.prototxt", net.parent) == net
    assert find_named(str(net), Path("nowhere")) == net
    assert find_named("mnist/other.prototxt", net.parent) is None
    assert find_named("", net.parent) is None


def test_the_working_directory_goes_first_then_the_nearest_folder(caffe: Path) -> None:
    (caffe / "net.prototxt").touch()
    (caffe / "examples" / "net.prototxt").touch()
    assert find_named("net.prototxt", caffe / "examples" / "mnist") == caffe / "examples" / "net.prototxt"
    Path("net.prototxt").touch()
    assert find_named("net.prototxt", caffe / "examples" / "mnist") == Path("net.prototxt")
    assert find_named("net.prototxt", caffe / "examples" / "mnist", root=caffe) == caffe / "net.prototxt"


def test_the_file_systems_root_is_no_place_to_look(caffe: Path) -> None:
    top = caffe.parts[1]
    assert (Path("/") / top).exists()
    assert find_named(top, caffe) is None
