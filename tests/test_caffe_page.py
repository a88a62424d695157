"""The page of Caffe's flags and solver fields is whole, and its tests exist.

Oracles: the flags that Caffe's program declares (BVLC/caffe@9b89154 tools/caffe.cpp), its schema, our parsers, and the
tests' own sources.
"""

from __future__ import annotations

import argparse
import importlib
import re

import pytest

from cpm_port.caffe import message_class
from tests.support import ROOT

PAGE = (ROOT / "docs" / "reference" / "caffe.md").read_text(encoding="utf-8")
FLAGS = {
    "train": {"solver", "weights", "snapshot", "gpu", "level", "stage", "sigint_effect", "sighup_effect", "iterations"},
    "test": {"model", "weights", "iterations", "gpu", "level", "stage"},
    "time": {"model", "iterations", "phase", "gpu", "level", "stage"},
}
"""What each of Caffe's verbs reads, and `-iterations` of train, which it takes and does not read."""


def rows(title: str) -> list[list[str]]:
    """Return the cells of a section's table."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{title}\n"))
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(title: str) -> list[str]:
    return [name for row in rows(title) for name in re.findall(r"`-?(\w+)`", row[0])]


@pytest.mark.parametrize("verb", FLAGS)
def test_every_flag_of_caffes_has_a_row_and_is_taken_with_one_dash_and_two(verb: str) -> None:
    assert sorted(named(f"caffe {verb}")) == sorted(FLAGS[verb])
    parser = argparse.ArgumentParser()
    importlib.import_module(f"cpm_port.cli.{verb}").configure(parser)
    for flag in FLAGS[verb]:
        assert {f"-{flag}", f"--{flag}"} <= set(parser._option_string_actions)


def test_every_field_of_the_solver_has_one_row() -> None:
    fields = [field.name for field in message_class("SolverParameter")().DESCRIPTOR.fields]
    assert sorted(named("The solver's fields")) == sorted(name for name in fields if not name.startswith("_"))


def test_every_test_that_the_page_names_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    titles = ("caffe train", "caffe test", "caffe time", "The solver's fields")
    mentioned = {row[2] for title in titles for row in rows(title)}
    assert len(mentioned) > 20
    assert all(re.fullmatch(r"`test_\w+`", name) for name in mentioned)
    assert {name for name in mentioned if f"\ndef {name.strip('`')}(" not in sources} == set()
