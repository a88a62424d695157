"""The documentation tells the truth: links lead somewhere, examples run, commands parse, generated pages are current.

Oracle: the files themselves, the real parsers, the registry, and MkDocs where it is installed.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cpm_port import cli
from cpm_port.graph import supported_types
from tests.support import ROOT

DOCS = ROOT / "docs"
TOOLS = ROOT / ".venv-docs" / "bin" / "mkdocs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}


def load_script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_script("generate")
WRITTEN = {name: text for name, text in TEXTS.items() if name not in GENERATOR.PAGES}


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the lines of shell blocks, and of indented ones, that call `cpm-port`; lines that go on are joined."""
    text = re.sub(r" *\\\n\s*", " ", text)
    indented = re.findall(r"^    (cpm-port .*)$", text, flags=re.MULTILINE)
    return [line.strip() for block in blocks(text, "sh") for line in block.splitlines()] + indented


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert TEXTS.get(name, "").rstrip() == GENERATOR.PAGES[name]().rstrip(), (
        "run `make docs`, or python docs/generate.py"
    )


def test_the_list_of_layers_is_the_registry() -> None:
    named = re.findall(r"^\| `(\w+)` \|", TEXTS["reference/layers.md"], flags=re.MULTILINE)
    assert set(named) == set(supported_types()) - {"Python"}  # which cpm_port.pycaffe brings


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_and_picture_leads_somewhere(name: str) -> None:
    page = DOCS / name
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    ):
        assert not target.startswith(("http:", "/")), target
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.is_file(), target
        assert not anchor or anchor in anchors(aim.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", TEXTS)
def test_no_page_is_longer_than_300_lines(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= 300


def test_every_page_of_the_navigation_is_there_and_every_page_can_be_reached() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", text, flags=re.MULTILINE))
    assert named <= set(TEXTS)
    linked = {
        (DOCS / name).parent.joinpath(target).resolve().relative_to(DOCS).as_posix()
        for name, page in TEXTS.items()
        for target in re.findall(r"\]\(([\w./-]+\.md)", page)
        if (DOCS / name).parent.joinpath(target).resolve().is_relative_to(DOCS)
    }
    assert set(TEXTS) <= named | linked


@pytest.mark.parametrize("name", [name for name, text in WRITTEN.items() if blocks(text, "python")])
def test_a_pages_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cpm_port.graph import registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    scope: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(WRITTEN[name], "python"):
        exec(compile(block, name, "exec"), scope)


@pytest.mark.parametrize("name", [name for name, text in WRITTEN.items() if commands(text)])
def test_a_pages_commands_are_ones_that_the_parsers_take(name: str) -> None:
    for line in commands(WRITTEN[name]):
        words = shlex.split(line, comments=True)
        if words[:1] != ["cpm-port"]:
            continue
        values = {"$T": "0.2"}
        arguments = [values.get(word, word) for word in words[2:]]
        if words[1] == "bench":  # a bench has a parser of its own, behind the verb's
            continue
        GENERATOR.parser_of(words[1]).parse_args(arguments)


def test_the_tutorials_cells_run_and_show_what_is_stored_in_it(tmp_path: Path) -> None:
    """Oracle: the outputs that `python docs/notebook.py` stored; their kinds, for a new model gives other numbers."""
    runner = load_script("notebook")
    stored = json.loads(runner.TUTORIAL.read_text(encoding="utf-8"))
    fresh = json.loads(json.dumps(stored))
    runner.run(fresh, tmp_path)
    kinds = [
        [
            [(output["output_type"], sorted(output.get("data", {}))) for output in cell.get("outputs", [])]
            for cell in content["cells"]
        ]
        for content in (stored, fresh)
    ]
    assert kinds[0] == kinds[1]
    assert sum(map(len, kinds[0])) >= 8


def test_every_verb_that_is_named_exists() -> None:
    for name, text in TEXTS.items():
        assert set(re.findall(r"`cpm-port ([a-z]+)", text)) <= set(cli.VERBS), name


def test_every_module_of_the_python_page_has_names_with_docstrings() -> None:
    for name in re.findall(r"^::: (\S+)$", TEXTS["reference/python.md"], flags=re.MULTILINE):
        module = importlib.import_module(name)
        assert module.__all__, name
        for public in module.__all__:
            value = getattr(module, public)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert inspect.getdoc(value), f"{name}.{public}"


SHOWN_BY = {
    "cpm_port.inference.predict.queue_finite_check": "cpm_port.inference.predict.require_finite_maps",
    "cpm_port.inference.predict.queue_gather": "cpm_port.inference.predict.gather",
    "cpm_port.inference.run.Done": "cpm_port.inference.run.predict_files",
    "cpm_port.inference.run.Summary": "cpm_port.inference.run.predict_paths",
    "cpm_port.models.surgery.MoveReport": "cpm_port.models.surgery.move_weights",
    "cpm_port.training.recipe.Finetuned": "cpm_port.training.recipe.finetune",
}
"""Names of the Python page without an example, and the function whose example is theirs: it gives or begins them."""


PYTHON_MODULES = re.findall(r"^::: (\S+)$", TEXTS["reference/python.md"], flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted({*PYTHON_MODULES} - {"cpm_port"}))  # whose examples tests/test_face.py runs
def test_every_name_of_the_python_page_has_an_example_that_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpm_port.graph import registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    module = importlib.import_module(name)
    runner, without = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), set()
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            names = dict(vars(sys.modules[value.__module__]))
            found = doctest.DocTestFinder(recurse=False).find(value, public, module=False, globs=names)
            if not sum(len(test.examples) for test in found):
                without.add(f"{name}.{public}")
            for test in found:
                runner.run(test)
    assert runner.failures == 0
    assert without <= {*SHOWN_BY}
    assert without.isdisjoint(SHOWN_BY.values())


def test_every_error_says_what_to_do() -> None:
    from cpm_port import errors

    for name in errors.__all__:
        text = inspect.getdoc(getattr(errors, name)) or ""
        assert name == "CpmPortError" or "\n\n" in text, name


def test_every_figure_of_the_concepts_is_drawn_by_the_script() -> None:
    drawn = {
        node.value
        for node in ast.walk(ast.parse((DOCS / "figures.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith((".png", ".svg"))
    }
    for name, text in TEXTS.items():
        if name.startswith("concepts/") or name == "index.md":
            shown = {Path(target).name for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
            assert shown, name
            assert shown <= drawn, name


@pytest.mark.skipif(not TOOLS.is_file(), reason="MkDocs is not installed; `make docs` installs it")
def test_the_site_builds_strictly_and_asks_no_other_host_for_anything(tmp_path: Path) -> None:
    command = [str(TOOLS), "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8"))
        assert not fetched, page


def test_every_question_has_an_answer_to_go_to() -> None:
    rows = [line for line in TEXTS["questions.md"].splitlines() if line.startswith("| ")][2:]
    assert len([row for row in rows if "](" in row]) >= 25
    assert not [row for row in rows if len(row.strip("| ").split(" | ", 1)) < 2]


def test_the_table_of_versions_gives_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["lmdb"],
        f"python{project['requires-python']}",
    ]
    rows = [line.strip("| ").split(" | ") for line in TEXTS["reference/versions.md"].splitlines()]
    told = {row[0].removesuffix(" (an extra)"): row[1:] for row in rows if len(row) > 2}
    for name, least in (requirement.split(">=") for requirement in wanted):
        assert told[name][0] == least, name
        oldest = told[name][1]
        assert f"{oldest}.".startswith(f"{least}."), f"{name}: {least} is asked for, {oldest} was tried"
