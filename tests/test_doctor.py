"""Claim: `cpm-port doctor` says what a report of a fault needs, and how to get what is missing.

Oracle: the environment that the test makes, and what Python itself says of versions.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from types import ModuleType

import pytest

from cpm_port import doctor
from cpm_port.cli import main
from cpm_port.zoo import ENTRIES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CPM_PORT_MODELS", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_says_versions_processor_devices_and_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.split("\n\n")[0].splitlines())
    assert said["python"].startswith(platform.python_version())
    assert f"torch {importlib.metadata.version('torch')}" in said["packages"]
    assert f"numpy {importlib.metadata.version('numpy')}" in said["packages"]
    assert "cores" in said["processor"]
    assert said["models"] == "default (in ~/.local/share/cpm_port/models, and with the package)"
    assert said["measured convolution times"].startswith("none (~/.cache/cpm_port/convolution_times.json")
    assert {"GPU", "instructions", "memory", "environment"} <= said.keys()


def test_it_says_how_to_get_each_model_that_is_absent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    missing = capsys.readouterr().out.split("missing:")[1]
    for entry in ENTRIES.values():
        assert (f"cpm-port models add {entry.file_name}`" in missing) == (not entry.embedded)


def test_it_says_which_extra_brings_an_absent_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_onnxscript(name: str) -> object:
        return None if name == "onnxscript" else ModuleType(name)

    monkeypatch.setattr(doctor, "find_spec", without_onnxscript)
    assert doctor.examine().missing[0] == "onnxscript: pip install 'cpm_port[onnx]'"


def test_a_variable_that_changes_what_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS=3" in doctor.examine().facts["environment"]


def test_a_damaged_model_is_broken_and_the_exit_code_is_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / ".local/share/cpm_port/models/mpii-6s"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{")
    assert main(["doctor"]) == 1
    broken = capsys.readouterr().out.split("BROKEN:\n")[1]
    assert broken.startswith("  model mpii-6s: ~/.local/share/cpm_port/models/mpii-6s/model.json: ")
