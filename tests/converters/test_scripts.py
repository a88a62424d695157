"""Every script in `converters/` does what its usage line says. Oracle: the bits of the file that it started from.

Scripts run in this process, as `python converters/NAME.py` would run them.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from cpm_port.caffe import read_net, write_weights
from cpm_port.export import convert
from cpm_port.formats import format_of
from cpm_port.models import architecture, build, deploy_text, to_caffe
from tests.support import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "converters").glob("*.py"))
NET = architecture("flic", stages=1, width=4, box=(64, 64))


def usage_of(script: str) -> list[str]:
    """Return the words of a script's usage line, after its own name."""
    lines = (ROOT / "converters" / script).read_text().splitlines()
    (usage,) = (line for line in lines if line.startswith("Usage: "))
    return usage.removeprefix(f"Usage: python converters/{script} ").split()


def run(script: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "converters" / script), run_name="__main__")
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small net and its model in every form that a script reads, by suffix."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "net.prototxt").write_text(deploy_text(NET))
    spec = read_net(folder / "net.prototxt")
    write_weights(folder / "model.caffemodel", to_caffe(build(NET).state_dict(), NET), spec)
    for suffix in (".h5", ".safetensors"):
        convert(folder / "model.caffemodel", folder / f"model{suffix}")
    return {path.suffix: path for path in folder.iterdir()}


def arrays_of(path: Path) -> dict[str, list[bytes]]:
    read = format_of(path).read
    assert read is not None
    return {layer: [array.tobytes() for array in arrays] for layer, arrays in read(path).blobs.items()}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_writes_what_its_usage_line_says(
    script: str,
    inputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    *sources, target = usage_of(script)
    if target == "OUT.onnx":
        pytest.importorskip("onnxruntime")
    arguments = [*(inputs[Path(word).suffix] for word in sources), tmp_path / target]
    assert run(script, *arguments, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [target]
    assert str(tmp_path / target) in said
    if target == "OUT.onnx":
        assert "onnxruntime agrees" in said
    else:
        assert arrays_of(tmp_path / target) == arrays_of(inputs[".caffemodel"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_converts_in_its_own_direction_only(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = usage_of(script)
    assert run(script, *words[:-1], tmp_path / "out.txt", monkeypatch=monkeypatch) == 2
    assert f"expected a name that ends in {Path(words[-1]).suffix}" in capsys.readouterr().err
    assert run(script, *words[:-1], monkeypatch=monkeypatch) == 2
    assert f"converters/{script} {' '.join(words)}" in capsys.readouterr().err, "the usage line"


def test_a_script_says_what_is_wrong_with_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (tmp_path / "absent.caffemodel", tmp_path / "out.safetensors")
    assert run("caffe_to_safetensors.py", *arguments, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.endswith("absent.caffemodel: no such file\n")


def test_between_files_no_script_needs_pytorch(inputs: dict[str, Path], tmp_path: Path) -> None:
    code = "import runpy, sys\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "except SystemExit as stop: assert stop.code == 0\nassert 'torch' not in sys.modules"
    script = ROOT / "converters" / "caffe_to_safetensors.py"
    start = f"import sys; sys.argv = {[str(script), str(inputs['.caffemodel']), str(tmp_path / 'a.safetensors')]!r}\n"
    subprocess.run([sys.executable, "-c", start + code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
