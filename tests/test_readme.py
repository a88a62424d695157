"""The README tells the truth: its example runs and prints a number, what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cpm_port.cli import VERBS
from tests.support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_prints_a_number(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) <= 1e-5


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 120
    for target in re.findall(r"\]\(([^)#\s]+)", README):
        assert (ROOT / target).is_file(), target


def test_every_command_and_path_that_is_named_exists() -> None:
    assert set(re.findall(r"cpm-port ([a-z]+)", README)) <= set(VERBS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
    for path in re.findall(r"\btests/[\w./]+", README):
        assert (ROOT / path.rstrip(".")).exists(), path
