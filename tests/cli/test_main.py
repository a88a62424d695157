"""Claim: the command line says where, what it found and what it expected, and its exit code says how it went.

Oracle: files that are in the way, and what a user must read then.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cpm_port
from cpm_port.cli import VERBS, main


def test_a_file_in_a_folders_place_is_named_with_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out, reason in ((file, "File exists"), (file / "below", "Not a directory")):
        assert main(["prototxt", "--arch", "flic", "--out", str(out)]) == 2
        assert capsys.readouterr().err == f"cpm-port prototxt: {out}: {reason}; expected a folder\n"
    assert file.read_text() == "mine"


def test_a_full_disk_is_said_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", full)
    assert main(["prototxt", "--arch", "flic", "--out", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == f"cpm-port prototxt: {tmp_path / 'flic_deploy.prototxt'}: cannot be written: No space left on device\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_study_asks_for_its_folder_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(["study", "gradients", "--out", str(file)]) == 2
    assert capsys.readouterr().err == f"cpm-port study: {file}: {file} is a file; expected a folder for the results\n"


def test_every_verb_is_listed_and_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    listed = capsys.readouterr().out
    assert all(f"    {verb} " in listed for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{cpm_port.__version__}\n"


def test_no_verbs_help_needs_torch_opencv_or_numba() -> None:
    code = f"""
import sys
from cpm_port.cli import main
for verb in {list(VERBS)!r}:
    try:
        main([verb, "--help"])
    except SystemExit:
        pass
    heavy = {{"torch", "cv2", "numba"}} & set(sys.modules)
    assert not heavy, (verb, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_interrupted_command_says_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    assert main(["prototxt", "--arch", "flic", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "cpm-port prototxt: interrupted\n"
    assert list(tmp_path.iterdir()) == []
