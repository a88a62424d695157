"""A model over a data set: the release's searches, sharded, killed with SIGKILL and continued, always the same file.

Oracles: `predict_person` called image by image; an uninterrupted run of one process.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from cpm_port import load_net
from cpm_port.annotations import lspet
from cpm_port.annotations.lsp import read_lsp
from cpm_port.annotations.samples import Person, Sample
from cpm_port.cli import main
from cpm_port.compute.devices import World
from cpm_port.errors import DataError, MissingFileError
from cpm_port.imaging.pyramid import flic_search, lsp_search, mpii_search
from cpm_port.imaging.reading import read_image
from cpm_port.inference.dataset import predict_samples
from cpm_port.inference.journal import read_entries
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whereabouts import search_of
from cpm_port.parts import CPM14, FLIC9, LSP14, MPII16
from cpm_port.predictions.files import read_predictions
from tests.evaluation.support import drawn_people
from tests.support import ROOT

PEOPLE = 200
ALONE = World(0, 1, torch.device("cpu"))
NET = """
name: "tiny"
input: "data"
input_dim: 1 input_dim: 4 input_dim: 64 input_dim: 64
layer { name: "conv1_stage1" type: "Convolution" bottom: "data" top: "conv1_stage1"
  convolution_param { num_output: 15 kernel_size: 9 pad: 4 stride: 8 weight_filler { type: "gaussian" std: 0.2 } } }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a data set folder of LSP's layout, with a tiny net and its weights."""
    folder = tmp_path_factory.mktemp("lsp")
    draw = np.random.default_rng(0)
    people = drawn_people(LSP14, PEOPLE, 0) * 0.2
    joints = np.concatenate([people + 1, 0 * people[..., :1]], axis=2)
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    (folder / "images").mkdir()
    for i in range(PEOPLE):
        height, width = draw.integers(48, 72, 2)
        pixels = draw.integers(0, 256, (6, 5, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((int(width), int(height)), Image.Resampling.BILINEAR)
        image.save(folder / f"images/im{i + 1:04d}.jpg", quality=92)
    (folder / "net.prototxt").write_text(NET)
    torch.manual_seed(1)
    load_net(folder / "net.prototxt").save(folder / "net.caffemodel")
    return folder


def _arguments(root: Path, save: Path, *more: str) -> list[str]:
    return [
        "evaluate", "--protocol", "lsp-pc", "--net", str(root / "net.prototxt"),
        "--weights", str(root / "net.caffemodel"), "--data", str(root), "--save", str(save), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the predictions of one process that nobody disturbs; one thread, as torchrun gives each process."""
    path = tmp_path_factory.mktemp("whole") / "p.h5"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(_arguments(root, path)) == 0
    finally:
        torch.set_num_threads(threads)
    return path


def test_every_person_is_predicted_as_by_hand(root: Path, uninterrupted: Path) -> None:
    found = read_predictions(uninterrupted)
    assert found.joints.convention.order == CPM14
    assert found.names == tuple(f"im{i + 1:04d}" for i in range(PEOPLE))
    net = load_net(root / "net.prototxt", root / "net.caffemodel")
    for i in (0, 17, PEOPLE - 1):
        image = read_image(root / f"images/im{i + 1:04d}.jpg")
        search = lsp_search(image.shape[:2], 64)
        assert len(search.multipliers) == 7
        expected = predict_person(net, image, search.center_xy, search.base_scale, search.multipliers)
        assert np.array_equal(found.joints.xy[i], expected.joints_image)
        assert np.allclose(found.scores[i], expected.scores, atol=1e-5)


def _lines(journal: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in journal.glob("*.jsonl"))


def test_a_sharded_run_killed_at_a_random_moment_continues_to_the_same_file(
    root: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    save = tmp_path / "p.h5"
    journal = tmp_path / "p.h5.journal"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "cpm_port",
        *_arguments(root, save),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    moment = random.randrange(1, PEOPLE // 4)  # early enough that the run is not over first
    words = tmp_path / "words.txt"
    with words.open("wb") as said:
        run = subprocess.Popen(
            command, cwd=tmp_path, env=environment, start_new_session=True, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            limit = time.monotonic() + 240
            while _lines(journal) < moment and run.poll() is None and time.monotonic() < limit:
                time.sleep(0.002)
            ended = run.poll()
        finally:
            _kill_group(run)
    assert ended is None, f"the run ended by itself with {ended}: {words.read_text(errors='replace')[-2000:]}"
    assert not save.exists(), f"the run was over before it could be killed at {moment} of {PEOPLE}"
    before = read_entries(journal)
    assert moment <= len(before) < PEOPLE
    sizes = {path: path.read_bytes() for path in journal.glob("*.jsonl")}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"({len(before)} known)" in done.stderr
    for path, content in sizes.items():  # nothing that was whole is lost or made again
        assert path.read_bytes().startswith(content[: content.rfind(b"\n") + 1])
    assert _lines(journal) == PEOPLE
    expected, found = read_predictions(uninterrupted), read_predictions(save)
    assert found.names == expected.names
    assert np.array_equal(found.joints.xy, expected.joints.xy)
    assert np.array_equal(found.scores, expected.scores)
    assert done.stdout.count("measured") == 1  # one process alone prints the table


def _kill_group(run: subprocess.Popen[bytes]) -> None:
    """SIGKILL torchrun and its workers, and wait until none of them is left."""
    workers = [int(pid) for pid in _children(run.pid)]
    os.killpg(run.pid, signal.SIGKILL)
    for pid in workers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.wait()
    limit = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in workers) and time.monotonic() < limit:
        time.sleep(0.01)


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_limit_can_be_raised_and_nothing_is_predicted_twice(
    root: Path, uninterrupted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save = tmp_path / "p.h5"
    for limit in (2, 5):
        assert main(_arguments(root, save, "--limit", str(limit))) == 0
    assert "(2 known)" in capfd.readouterr().err
    assert _lines(tmp_path / "p.h5.journal") == 5
    found, expected = read_predictions(save), read_predictions(uninterrupted)
    assert np.array_equal(found.joints.xy, expected.joints.xy[:5])


@pytest.mark.parametrize("name", ["p.mat", "p.json", "openpose"])
def test_predictions_are_saved_in_other_peoples_formats_too(
    root: Path, uninterrupted: Path, tmp_path: Path, name: str
) -> None:
    assert main(_arguments(root, tmp_path / name, "--limit", "3")) == 0
    expected, found = read_predictions(uninterrupted), read_predictions(tmp_path / name, order=CPM14)
    np.testing.assert_allclose(found.joints.to(expected.joints.convention).xy, expected.joints.xy[:3], atol=1e-9)


def test_other_weights_do_not_continue_a_run(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save = tmp_path / "p.h5"
    assert main(_arguments(root, save, "--limit", "1")) == 0
    torch.manual_seed(2)
    load_net(root / "net.prototxt").save(tmp_path / "other.caffemodel")
    arguments = _arguments(root, save, "--limit", "1")
    arguments[arguments.index("--weights") + 1] = str(tmp_path / "other.caffemodel")
    assert main(arguments) == 2
    assert "of another run (weights differ)" in capsys.readouterr().err


def test_the_engine_finds_what_the_plain_net_finds(root: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """`evaluate` runs the Fourier engine; without memory for it, the plain convolutions; the joints are the same."""
    assert main(_arguments(root, tmp_path / "p.h5", "--limit", "20", "--memory-bound", "0")) == 0
    found, expected = read_predictions(tmp_path / "p.h5"), read_predictions(uninterrupted)
    assert np.array_equal(found.joints.xy, expected.joints.xy[:20])
    assert np.abs(found.scores - expected.scores[:20]).max() <= 1e-5 * np.abs(expected.scores).max()


@pytest.mark.gpu
def test_a_gpu_takes_people_in_groups_and_hits_the_same(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = []
    for device in ("cpu", "cuda"):
        assert main(_arguments(root, tmp_path / f"{device}.h5", "--device", device, "--limit", "10")) == 0
        tables.append(capsys.readouterr().out.replace(device, ""))
    expected, found = (read_predictions(tmp_path / f"{device}.h5") for device in ("cpu", "cuda"))
    assert np.array_equal(found.joints.xy, expected.joints.xy)
    assert np.allclose(found.scores, expected.scores, rtol=1e-5)
    assert tables[0] == tables[1]


def test_another_precision_does_not_continue_a_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(root, tmp_path / "p.h5", "--limit", "1")) == 0
    assert main(_arguments(root, tmp_path / "p.h5", "--limit", "2", "--precision", "bf16")) == 2
    assert "of another run (precision differ)" in capsys.readouterr().err


def test_missing_and_broken_images_stop_the_run_by_name(root: Path, tmp_path: Path) -> None:
    net = load_net(root / "net.prototxt", root / "net.caffemodel")
    samples = read_lsp(root / "joints.mat", tmp_path)[:3]
    with pytest.raises(MissingFileError, match=r"3 of 3 images are not there; the first: .*im0001\.jpg"):
        predict_samples(net, samples, tmp_path / "journal", {}, ALONE)
    for name in ("im0001", "im0002", "im0003"):
        (tmp_path / f"{name}.jpg").write_bytes((root / f"images/{name}.jpg").read_bytes())
    (tmp_path / "im0002.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="LSP im0002: "):
        predict_samples(net, samples, tmp_path / "journal", {}, ALONE)
    assert set(read_entries(tmp_path / "journal")) == {"im0001"}
    with pytest.raises(DataError, match="two samples are called 'im0001'"):
        predict_samples(net, [samples[0], samples[0]], tmp_path / "journal", {}, ALONE)


def test_people_without_images_are_left_out_where_asked_and_the_table_counts(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "joints.mat").symlink_to(root / "joints.mat")
    for name in ("im0003", "im0190"):
        (tmp_path / f"images/{name}.jpg").symlink_to(root / f"images/{name}.jpg")
    arguments = _arguments(root, tmp_path / "p.h5", "--data", str(tmp_path))
    assert main(arguments) == 2
    assert "198 of 200 images are not there" in capsys.readouterr().err
    assert main([*arguments, "--only-present"]) == 0
    out = capsys.readouterr().out
    assert "lsp-pc @0.2: 2 of 200 people, those whose images are there" in out
    assert "published" not in out
    assert read_predictions(tmp_path / "p.h5").names == ("im0003", "im0190")


def test_people_of_the_extended_set_without_images_are_left_out_where_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lspet, "HELD_OUT", range(2, 5))
    people = np.concatenate([drawn_people(LSP14, 4, 0) * 0.2 + 1, np.ones((4, 14, 1))], axis=2)
    savemat(tmp_path / "joints.mat", {"joints": people.transpose(1, 2, 0)})
    (tmp_path / "images").mkdir()
    for number in (2, 4):
        (tmp_path / f"images/im{number:05d}.jpg").symlink_to(root / f"images/im{number:04d}.jpg")
    save = tmp_path / "p.h5"
    arguments = _arguments(root, save, "--data", str(tmp_path), "--protocol", "lspet-held-out")
    assert main(arguments) == 2
    assert "im00003.jpg" in capsys.readouterr().err
    assert main([*arguments, "--only-present"]) == 0
    assert "2 of 3 people, those whose images are there" in capsys.readouterr().out
    assert read_predictions(save).names == ("im00002", "im00004")


def test_each_data_set_is_searched_by_its_own_rule() -> None:
    def sample(dataset: str, order: object, **fields: object) -> Sample:
        joints = np.zeros((len(order), 2))
        person = Person(joints, np.ones(len(order), dtype=bool), **fields)
        return Sample(dataset, "x", None, "test", order, "person", person)

    assert search_of(sample("LSP", LSP14), (100, 50)) == lsp_search((100, 50))
    assert search_of(sample("MPI", MPII16, center=(3.0, 4.0), scale=2.0), (9, 9)) == mpii_search((3.0, 4.0), 2.0)
    assert search_of(sample("FLIC", FLIC9, torso_box=(1.0, 2.0, 3.0, 9.0)), (9, 9)) == flic_search((1.0, 2.0, 3.0, 9.0))
    with pytest.raises(DataError, match="FLIC x: the annotations give no torso box"):
        search_of(sample("FLIC", FLIC9), (9, 9))
    with pytest.raises(DataError, match="MPI x: the annotations give no center and scale"):
        search_of(sample("MPI", MPII16, center=(3.0, 4.0)), (9, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save", "p.csv"), r"p.csv: expected a name ending in .h5, .mat or .json, or a folder's name"),
        (("--predictions", "x.mat"), "give --predictions, or a model and --data, not both"),
        (("--protocol", "mpii-official"), "no labels of MPI; expected one of annot/valid.h5"),
    ],
)
def test_usage_errors(root: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], message: str) -> None:
    assert main(_arguments(root, root / "x.h5", *options)) == 2
    assert message in capsys.readouterr().err
