"""Claim: every fault that was found, an input or a situation each, now gives what its README expects.

Oracle: the READMEs in `../shared/faults`, one folder a fault. The walk is over all of them: a folder that no row here
speaks of fails the test. Situations (a full disk, a server, a cache that cannot be written) are made by the tests that
`ELSEWHERE` names. The kinds behind the faults have tests of their own, beside what they concern.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port import load_net
from cpm_port.annotations.flic import read_flic
from cpm_port.annotations.mpii import read_mpii_validation
from cpm_port.caffe import read_solverstate, read_weights, write_solverstate
from cpm_port.cli import main
from cpm_port.errors import CaffeFormatError, DataError, TrainingError
from cpm_port.imaging.video import VideoReader
from cpm_port.predictions.files import read_predictions
from cpm_port.training.snapshot import read_snapshot
from tests.inference.nets import colour_net, colour_net_text
from tests.support import ROOT
from tests.training.support import golden_trainer

Run = Callable[[str], tuple[int, str]]
Check = Callable[[Path, Run], None]
FAULTS: dict[str, Check] = {}
BROKEN_OFF = "tests/files/test_broken_off.py"
ELSEWHERE = {
    "disk_full_tracebacks": f"{BROKEN_OFF}::test_a_full_disk_is_told_with_the_files_name",
    "download_valueerror": "tests/zoo/test_fetch.py::test_what_a_server_says_is_not_believed",
    "numba_cache_readonly": "tests/compute/test_kernels.py::test_without_any_folder_it_compiles_all_the_same",
    "partial_left_behind": f"{BROKEN_OFF}::test_what_was_written_before_a_kill_is_whole_and_the_rest_goes",
    "special_file_replaced": "tests/files/test_atomic.py::test_a_device_or_an_open_file_is_written_to_and_stays",
}
SECONDS = 5.0  # of processor time, for a file of 16 KB that took 54


def fault(check: Check) -> Check:
    """Enter a row, named as the folder."""
    FAULTS[check.__name__] = check
    return check


def test_every_folder_has_a_row(shared: Path) -> None:
    folders = {path.name for path in (shared / "faults").iterdir() if path.is_dir()}
    assert folders == FAULTS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_tests_that_make_a_situation_are_there(name: str) -> None:
    file, test = ELSEWHERE[name].split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_fault_gives_what_its_readme_expects(
    fault_name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / fault_name
    shutil.copytree(shared / "faults" / fault_name, folder)
    monkeypatch.chdir(folder)

    def run(command: str) -> tuple[int, str]:
        code = main(command.split())
        said = capsys.readouterr()
        return code, said.out + said.err

    FAULTS[fault_name](folder, run)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_name" in metafunc.fixturenames:  # when the module is read to its end, and all rows are there
        metafunc.parametrize("fault_name", FAULTS)


def refused(result: tuple[int, str], words: str) -> None:
    code, said = result
    assert code == 2, said
    assert words in said


# Nets and weights


@fault
def cli_no_stage(folder: Path, run: Run) -> None:
    refused(run("inspect net.prototxt"), "layer 'in' is left out in phase TEST, level 0, stages none")
    assert run("inspect net.prototxt --stage deploy")[0] == 0
    load_net("net.prototxt", stages=["deploy"]).save("new.caffemodel")
    assert run("convert new.caffemodel new.h5 --net net.prototxt --stage deploy")[0] == 0
    np.savez("new.npz", data=np.ones(load_net("net.prototxt", stages=["deploy"]).spec.inputs["data"], np.float32))
    weighed = "--net net.prototxt --weights new.caffemodel --stage deploy"
    assert run(f"forward {weighed} --input new.npz --output out.npz")[0] == 0
    np.savez("both.npz", **np.load("new.npz"), **np.load("out.npz"))
    assert run(f"compare {weighed} --reference both.npz")[0] == 0


@fault
def empty_net_forward(folder: Path, run: Run) -> None:
    for net in ("n", "mac"):
        code, said = run(f"forward --net {net}.prototxt --weights m.caffemodel --input in.npz --output {net}.npz")
        assert (code, "ip: 1x3" in said) == (0, True)
    np.testing.assert_array_equal(np.load("n.npz")["ip"], np.load("mac.npz")["ip"])
    command = "forward --net train_only.prototxt --weights m.caffemodel --input in.npz --output new.npz"
    refused(run(command), "no layer is left in phase TEST")
    assert not (folder / "new.npz").exists()


@fault
def unknown_field_changes_maths(folder: Path, run: Run) -> None:
    for net, side in (("floor", 3), ("hole", 8)):
        assert (
            run(f"forward --net {net}.prototxt --weights {net}.caffemodel --input {net}.npz --output new.npz")[0] == 0
        )
        assert np.load("new.npz")["c"].shape == (1, 1, side, side)


@fault
def v0_outer_blobs(folder: Path, run: Run) -> None:
    found = {name: blobs[0].ravel().tolist() for name, blobs in read_weights("outer.caffemodel").items()}
    assert found == {"c0": [1, 2], "c1": [11, 12]}  # as protobuf reads them


@fault
def prototxt_indexerror(folder: Path, run: Run) -> None:
    for net in ("argmax", "build_1137", "build_1232", "protobytes_2730", "receptive_valueerror"):
        code, said = run(f"inspect {net}.prototxt")
        assert code == 0
        assert "shapes not known" in said


@fault
def prototxt_redos(folder: Path, run: Run) -> None:
    start = time.process_time()
    refused(run("inspect redos.prototxt"), "which starts no token")
    assert time.process_time() - start < SECONDS


@fault
def poor_messages(folder: Path, run: Run) -> None:
    for net, weights, words in (
        ("n", "s.solverstate", "this is a solver state, whose model is 'm.caffemodel'"),
        ("n", "m.caffemodel.gz", "this is a gzip file"),
        ("n", "m.pth", "this is a PyTorch file, a zip archive"),
        ("n", "lfs.caffemodel", "this is a Git LFS pointer"),
        ("n", "html.caffemodel", "this is an HTML or XML page"),
        ("utf16", "m.caffemodel", "this is UTF-16 text"),
        ("typo", "m.caffemodel", "LayerParameter has no field 'conv_param'"),
    ):
        refused(run(f"forward --net {net}.prototxt --weights {weights} --input in.npz --output o.npz"), words)
    refused(run("inspect mean.npy"), "this is a NumPy .npy file")
    refused(run("evaluate --protocol mpii-official --predictions p.mat --ground-truth v73.mat"), "saved with -v7.3")


# Data layers, records and labels


@fault
def hdf5_list(folder: Path, run: Run) -> None:
    for net, words in (
        ("direct", "expected a text file that lists .h5 files"),
        ("latin1", "layer 'd' names"),
        ("transform", "HDF5Data does not transform data"),
    ):
        refused(run(f"batches --net {net}.prototxt --out new.npz"), words)
        assert not (folder / "new.npz").exists()
    code, said = run("batches --net bom.prototxt --out new.npz")
    assert (code, "data: 4x2x3x3, 100 to 100" in said) == (0, True)


@fault
def mean_value_channels(folder: Path, run: Run) -> None:
    for net, channels, values in (("gray", 1, 3), ("bgr", 3, 2)):
        words = f"expected 1 mean_value, or one for each of {channels} channels, got {values}"
        refused(run(f"batches --net {net}.prototxt --out new.npz"), words)


@fault
def images_subfolder(folder: Path, run: Run) -> None:
    assert run("records lmdb lm --source t.json --joints 1") == (0, "lm: 1 records\n")


@fault
def lmdb_sigbus(folder: Path, run: Run) -> None:
    refused(run("records check db"), "a damaged LMDB")


@fault
def mpii_scale_overwritten(folder: Path, run: Run) -> None:
    def records(name: str) -> list[tuple[str, float, list[float]]]:
        rows = json.loads((folder / f"new_{name}.json").read_text())["root"]
        return [(row["img_paths"], row["scale_provided"], row["objpos"]) for row in rows]

    for name in ("all_scales", "one_without", "neighbour_without"):
        code, said = run(f"records json new_{name}.json --set mpii --labels {name}.mat --images images")
        assert code == 0
        assert ("left out: 1" in said) == (name != "all_scales")
    assert records("one_without") == records("all_scales") == [
        ("000.jpg", 0.8, [100.0, 100.0]),
        ("001.jpg", 1.7, [90.0, 110.0]),
    ]  # fmt: skip
    assert [name for name, _, _ in records("neighbour_without")] == ["000.jpg"]


@fault
def mat_loadmat_crash(folder: Path, run: Run) -> None:
    for name, read in (
        ("segv", read_predictions),
        ("unbound_local", read_predictions),
        ("prediction_mat_index", read_predictions),
        ("mpii_overflow", read_mpii_validation),
        ("flic_typeerror", read_flic),
        ("flic_valueerror", read_flic),
    ):
        with pytest.raises(DataError, match=name):
            read(folder / f"{name}.mat")


# Predictions


@fault
def eval_missing_joint(folder: Path, run: Run) -> None:
    for predictions, hits in (
        ("op --order lsp14", "total 41/42; Head 6/6, Sho 6/6, Elb 5/6"),
        ("nan.mat", "total 41/42; Head 6/6, Sho 6/6, Elb 5/6"),
        ("op_empty --order lsp14", "total 28/42"),
        ("op_old --order lsp14", "total 42/42"),
    ):
        code, said = run(f"evaluate --protocol lsp-pc --ground-truth joints.mat --predictions {predictions}")
        assert (code, hits in said) == (0, True), said


@fault
def openpose_layouts(folder: Path, run: Run) -> None:
    for predictions, hits in (("mpi15 --order cpm14", "total 14/14"), ("body25", "12/12"), ("coco18", "12/12")):
        code, said = run(f"evaluate --protocol lsp-pc --ground-truth joints.mat --predictions {predictions}")
        assert (code, hits in said) == (0, True), said


@fault
def openpose_people(folder: Path, run: Run) -> None:
    for name in ("int", "null", "str"):
        command = f"evaluate --protocol lsp-pc --ground-truth absent.mat --predictions {name} --order lsp14"
        refused(run(command), "expected an object with a list 'people'")


@fault
def json_deep(folder: Path, run: Run) -> None:
    command = "evaluate --protocol lsp-pc --ground-truth absent.mat --predictions deep.json --order lsp14"
    refused(run(command), "deep.json: not readable JSON")


@fault
def h5_predictions_libhdf5_hang(folder: Path, run: Run) -> None:
    refuses_predictions(folder)


@fault
def h5_predictions_unchecked(folder: Path, run: Run) -> None:
    refuses_predictions(folder)


@fault
def h5_predictions_wrong_types(folder: Path, run: Run) -> None:
    refuses_predictions(folder)


def refuses_predictions(folder: Path) -> None:
    files = sorted(folder.glob("*.h5"))
    assert files
    for path in files:
        with pytest.raises(DataError, match=path.name):
            read_predictions(path)


# Pictures and videos


@fault
def filename_not_utf8(folder: Path, run: Run) -> None:
    (folder / "net.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "net.caffemodel")
    (folder / "in").mkdir()
    cv2.imwrite(str(folder / "in" / "z.jpg"), np.full((160, 200, 3), 90, np.uint8))
    try:
        shutil.copy(folder / "in" / "z.jpg", os.fsdecode(os.fsencode(folder / "in") + b"/bad\xff.jpg"))
    except OSError:
        pytest.skip("the file system takes no names that are not UTF-8")
    code, said = run("predict in --net net.prototxt --weights net.caffemodel --out out --multipliers 1")
    assert (code, "2 of 2 files predicted" in said) == (0, True), said
    assert {os.fsencode(path.name) for path in (folder / "out").glob("*.json")} == {b"bad\xff.json", b"z.json"}


@fault
def video_playlist(folder: Path, run: Run) -> None:
    for name in ("concat", "dash", "http", "sdp", "self"):
        with pytest.raises(DataError, match="expected a video file of a known kind"):
            VideoReader(folder / f"{name}.mp4")
    VideoReader(folder / "other.mp4").close()  # the one that the others name is one


# Snapshots


@fault
def h5_learned_net_bomb(folder: Path, run: Run) -> None:
    with pytest.raises(CaffeFormatError, match="learned_net: the file's arrays have too many bytes"):
        read_solverstate("bomb.solverstate.h5")


@fault
def side_json(folder: Path, run: Run) -> None:
    golden_trainer("sgd_step", folder / "run", max_iter=2, snapshot=2).solve()
    shutil.copy("side_1107.json", "run_iter_2.solverstate.json")
    with pytest.raises(TrainingError, match="not the run state of a snapshot"):
        read_snapshot(folder / "run_iter_2.solverstate")


@fault
def snapshot_prefix_folder(folder: Path, run: Run) -> None:
    (folder / "models").mkdir()
    assert run("train --solver my_solver.prototxt")[0] == 0
    assert (folder / "models" / "my_solver_iter_2.caffemodel").is_file()
    assert not list(folder.glob("models_iter*"))
    assert run("train --solver my_solver.prototxt --snapshot latest --set max_iter:3")[0] == 0
    assert (folder / "models" / "my_solver_iter_3.caffemodel").is_file()


@fault
def test_only_shared_layer(folder: Path, run: Run) -> None:
    (folder / "s").mkdir(exist_ok=True)
    code, said = run("train --solver my_solver.prototxt")
    assert code == 0, said


test_only_shared_layer.__test__ = False  # type: ignore[attr-defined]


@fault
def windows_learned_net(folder: Path, run: Run) -> None:
    shutil.rmtree("w")
    assert run("train --solver my_solver.prototxt")[0] == 0
    path = folder / "w" / "s_iter_2.solverstate"
    named = r"C:\caffe\snap\s_iter_2.caffemodel"
    write_solverstate(path, replace(read_solverstate(path), learned_net=named))
    path.with_name(path.name + ".json").unlink()
    code, said = run(f"train --solver my_solver.prototxt --set max_iter:3 --snapshot {path}")
    assert code == 0, said
