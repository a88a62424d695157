"""The house keeps its rules: imports flow one way, some rooms need no torch, the wheel works anywhere."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import cpm_port
from cpm_port.cli import VERBS
from cpm_port.errors import CpmPortError
from cpm_port.parts import LSP14, Convention, Joints
from cpm_port.predictions.files import write_predictions
from cpm_port.predictions.values import Predictions
from tests.imports import circles, imports_of, modules, room_of
from tests.support import GOLDEN, PROVENANCE_FIELDS, ROOT

PACKAGE = ROOT / "cpm_port"
ROOMS = (
    ("errors", "release", "resources", "version"),
    ("compute", "files", "parts"),
    ("caffe", "imaging"),
    ("formats",),
    ("graph",),
    ("engine", "export", "models"),
    ("annotations", "predictions"),
    ("records",),
    ("drawn",),
    ("evaluation",),
    ("report", "zoo"),
    ("inference", "training"),
    ("data", "pycaffe"),
    ("bench", "doctor", "studies", "web"),
    ("cli", "cpm_port"),  # cpm_port: the package's own __init__, its front door
    ("__main__", "demo", "scorecard"),
)
"""The flow: a room imports from the rows above its own, and from no other room of its own row.

CONTRIBUTING.md draws it.
"""
ROW_OF = {room: row for row, rooms in enumerate(ROOMS) for room in rooms}
WITHOUT_TORCH = (
    "annotations", "caffe", "drawn", "evaluation", "files", "formats", "predictions", "records", "release", "zoo",
)  # fmt: skip
ENTRY_POINTS = (
    "configure",
    "main",
    "numbers",
    "plot",
    "read",
    "run",
    "write",
)  # of verbs, benches, studies, formats, commands


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Every module of the package -> the modules that it imports."""
    files = modules()
    return {name: imports_of(name, path.read_text(encoding="utf-8"), set(files)) for name, path in files.items()}


@pytest.mark.parametrize("room", ROW_OF)
def test_a_room_imports_from_the_rows_above_only(room: str, arrows: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in sorted(others)
        if room_of(module) == room != room_of(other) and ROW_OF[room_of(other)] >= ROW_OF[room]
    ]
    assert not wrong, wrong


def test_every_room_has_its_place(arrows: dict[str, set[str]]) -> None:
    assert {room_of(module) for module in arrows} == set(ROW_OF)


def test_no_files_import_each_other_in_a_circle(arrows: dict[str, set[str]]) -> None:
    assert circles(arrows) == []


def test_one_name_means_one_function() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in modules().items():
        if room_of(name) == "pycaffe":  # its names are Caffe's
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)
    shared = {name: places for name, places in homes.items() if len(places) > 1 and name not in ENTRY_POINTS}
    assert not shared


def test_one_name_means_one_class() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)
    shared = {name: places for name, places in homes.items() if len(places) > 1}
    assert set(shared) == {"NetSpec"}  # pycaffe's is so called in Caffe


def test_contributing_draws_the_flow() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (picture,) = (part for part in text.split("\n\n") if "→" in part)
    assert tuple(tuple(re.findall(r"`(\w+)`", row)) for row in picture.split("→")) == ROOMS


KNOWN = {"cpm_port", "cpm_port.caffe", "cpm_port.caffe.files", "cpm_port.here", "cpm_port.here.there", "cpm_port.demo"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import cpm_port.caffe.files", {"cpm_port.caffe.files"}),
        ("from cpm_port.caffe import files, read_net", {"cpm_port.caffe", "cpm_port.caffe.files"}),
        ("from cpm_port import demo, load_net", {"cpm_port", "cpm_port.demo"}),
        ("def f():\n    from cpm_port.here.there import x", {"cpm_port.here.there"}),
        ("if TYPE_CHECKING:\n    from cpm_port.caffe import NetSpec", {"cpm_port.caffe"}),
        ("importlib.import_module('cpm_port.demo')", {"cpm_port.demo"}),
        ("__import__(f'cpm_port.{name}')", {"cpm_port.caffe", "cpm_port.demo"}),
        ("import_module(f'{__name__}.{name}')", {"cpm_port.here.there"}),
        ("run([sys.executable, '-m', 'cpm_port.demo'])", {"cpm_port.demo"}),
        ("'see cpm_port.demo'", set()),
    ],
)
def test_the_walk_sees_an_import(source: str, expected: set[str]) -> None:
    assert imports_of("cpm_port.here", source, KNOWN) == expected


@pytest.mark.parametrize(
    "source",
    ["import_module(name)", "__import__(f'{package}.x')", "spec_from_file_location(name, path)", "from . import x"],
)
def test_the_walk_refuses_what_it_cannot_read(source: str) -> None:
    with pytest.raises(AssertionError, match=r"line 1: (imports by a name|a relative import)"):
        imports_of("cpm_port.here", source, KNOWN)


def test_a_circle_is_found_with_all_its_files() -> None:
    imports = {"a": {"b"}, "b": {"c", "e"}, "c": {"a", "d"}, "d": {"d"}, "e": {"f"}, "f": {"e"}}
    assert circles(imports) == [["a", "b", "c"], ["e", "f"]]


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_without_torch_stays_so(room: str) -> None:
    names = [name for name in modules() if room_of(name) == room]
    code = f"import sys, importlib\nfor m in {names!r}: importlib.import_module(m)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


HEAVY = {"torch", "cv2", "numba", "scipy", "h5py", "matplotlib", "lmdb"}  # each takes a tenth of a second or more


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models"], ["models", "--json"]], ids=" ".join)
def test_the_command_line_imports_nothing_heavy_for(arguments: list[str]) -> None:
    code = f"import sys, cpm_port.cli\ntry: assert cpm_port.cli.main({arguments!r}) == 0\n"
    code += f"except SystemExit as stop: assert stop.code == 0\nassert not {HEAVY!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("name", "allowed"), [("people.json", set()), ("people.h5", {"h5py"}), ("people.mat", {"scipy"})]
)
def test_reading_a_prediction_file_imports_only_its_own_library(name: str, allowed: set[str], tmp_path: Path) -> None:
    path = str(tmp_path / name)
    joints = Joints(np.ones((1, 14, 2)), Convention(LSP14, 0, "person"))
    write_predictions(path, Predictions(joints, np.ones((1, 14)), ("1",), "made here"))
    code = "import sys\nfrom cpm_port.parts import LSP14\nfrom cpm_port.predictions.files import read_predictions\n"
    code += f"read_predictions({path!r}, order=LSP14)\nassert not {HEAVY - allowed!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_verb_has_its_module_and_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    from cpm_port.cli import main

    files = {path.stem for path in (PACKAGE / "cli").glob("[a-z]*.py")}
    assert files == set(VERBS)
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert verb in capsys.readouterr().out


def test_every_error_also_is_the_builtin_that_a_caller_expects() -> None:
    from cpm_port import errors

    leaves = [getattr(errors, name) for name in errors.__all__ if name != "CpmPortError"]
    for leaf in leaves:
        assert issubclass(leaf, CpmPortError)
        assert any(base.__module__ == "builtins" for base in leaf.__bases__), leaf


def test_every_golden_folder_says_where_its_arrays_come_from() -> None:
    for folder in {path.parent for path in GOLDEN.rglob("*") if path.is_file() and path.suffix != ".json"}:
        sidecar = next(
            (f / "provenance.json" for f in (folder, *folder.parents) if (f / "provenance.json").is_file()), None
        )
        assert sidecar is not None, folder
        assert GOLDEN in sidecar.parents, folder
        assert set(PROVENANCE_FIELDS) <= json.loads(sidecar.read_text()).keys(), sidecar


def test_nothing_that_is_shipped_names_a_folder_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    homes = ("/" + "work/", "/" + "root/", "/" + "home/")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".json", ".prototxt") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [home for home in homes if home in text], name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout's files and unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    skip = shutil.ignore_patterns(
        ".git", ".venv*", "__pycache__", "golden", "*.egg-info", "out", "build", "dist", ".*_cache"
    )
    shutil.copytree(ROOT, checkout, ignore=skip)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [
        *pip,
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--wheel-dir",
        str(folder),
        str(checkout),
    ]
    subprocess.run(build, check=True)
    shutil.rmtree(checkout)
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)], check=True
    )
    return folder / "site"


def run_installed(site: Path, folder: Path, *arguments: str) -> str:
    """Run the command line of the installed copy in another folder; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "cpm_port", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_the_folders_beside_the_code(installed: Path) -> None:
    for name in ("prototxt", "reference_results", "converters"):
        carried = {path.name for path in (installed / "cpm_port" / name).iterdir()} - {"__pycache__"}
        assert carried == {path.name for path in (ROOT / name).iterdir()} - {"__pycache__"}
    assert (installed / "cpm_port" / "py.typed").is_file()
    page = {path.name for path in (installed / "cpm_port" / "web" / "page").iterdir()}
    assert page == {path.name for path in (PACKAGE / "web" / "page").iterdir()}


def test_the_installed_copy_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    code = "import cpm_port, cpm_port.resources as r; print(cpm_port.__file__); print(r.resource_dir('prototxt'))"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert all(Path(line).is_relative_to(installed) for line in done.stdout.splitlines()), done.stdout + done.stderr


def test_the_installed_command_line_works_far_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert run_installed(installed, tmp_path, "--version").strip() == cpm_port.__version__
    small = ("--arch", "flic", "--stages", "2", "--width", "4", "--box-size", "64")
    run_installed(installed, tmp_path, "prototxt", *small, "--out", "nets")
    report = json.loads(run_installed(installed, tmp_path, "inspect", "nets/flic_deploy.prototxt", "--json"))
    assert report["unsupported"] == []
    code = "import cpm_port; cpm_port.load_net('nets/flic_deploy.prototxt').save('a.caffemodel')"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    run_installed(installed, tmp_path, "convert", "a.caffemodel", "b.safetensors")
    run_installed(installed, tmp_path, "convert", "b.safetensors", "c.caffemodel")
    assert (tmp_path / "a.caffemodel").read_bytes() == (tmp_path / "c.caffemodel").read_bytes()


def test_the_demo_runs_from_the_installed_copy(installed: Path, tmp_path: Path) -> None:
    # without the compiler, whose cache is empty here, and with two people: this is faster
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", "import sys; from cpm_port import demo; demo.PEOPLE = 2; sys.exit(demo.main())"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "It does not show accuracy" in done.stdout
    assert "they agree" in done.stdout
    assert {path.name for path in (tmp_path / "out" / "demo").iterdir()} >= {"mpi.caffemodel", "figure.png"}


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("cpm_port") == project["version"] == cpm_port.__version__
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
