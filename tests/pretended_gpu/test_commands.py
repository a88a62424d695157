"""Claim: every command that takes `--device cuda` does there what it does on a CPU.

Oracle: the same command on the CPU, whose own tests hold it to Caffe and to the release. Nets are tiny: what is tried
is the way through the code, and that it keeps to a GPU's rules.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from cpm_port.bench import _peers, train
from cpm_port.caffe import parse_net, read_weights
from cpm_port.cli import main
from cpm_port.graph import load_net
from cpm_port.imaging.video import VideoWriter
from cpm_port.inference.model import Engine
from cpm_port.models import SolverSettings, TrainingData, architecture, deploy_text, write_files
from cpm_port.parts import LSP14
from cpm_port.predictions.files import Predictions, read_predictions
from cpm_port.training.progress import read_metrics
from tests.evaluation.support import drawn_people
from tests.inference.nets import colour_net, colour_net_text
from tests.inference.test_notebook import PERSON_NET
from tests.support import ROOT
from tests.training.own_data import FIVE, write_own_data
from tests.training.support import SOLVERS
from tests.zoo.own_model import write_own
from tests.zoo.support import small_zoo, use_zoo, write_model

pytestmark = pytest.mark.gpu

NCCLS_OWN_LIMIT = timedelta(minutes=10)  # after which it ends the processes that wait
EXACT = 1e-4  # float32 sums in another order, after some iterations
HELD_OUT = ["--validate", "drawn:count=4,size=64,seed=5", "--validate-interval", "2"]
TRAINING = {
    "as it is": [],
    "--amp bf16": ["--amp", "bf16"],
    "--amp tf32": ["--amp", "tf32"],
    "--channels-last": ["--channels-last"],
    "--compile": ["--compile"],
    "--recompute": ["--recompute"],
    "--mask": ["--mask"],
    "--ema, and validation by it": ["--ema", "0.5", *HELD_OUT],
    "--preset adamw": ["--preset", "adamw"],
    "--boxes": ["--boxes", "32:2", *HELD_OUT],
    "augmentation": ["--color", "0.2", "--grey", "0.5", "--full-turns", "0.5", "--cutout", "0.5", "--cache"],
    "--srand, --workers": ["--srand", "1", "--workers", "2"],
    "all that makes it fast": ["--preset", "adamw", "--amp", "bf16", "--channels-last", "--ema", "0.5", *HELD_OUT],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def solver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CPM of two stages that trains on drawn people; return its solver file."""
    net = architecture("mpi", stages=2, width=8, box=(48, 48))
    settings = SolverSettings(base_lr=1e-6, max_iter=4, display=1, snapshot=2)
    data = TrainingData("drawn:count=40,size=64,seed=3", batch_size=4)
    return write_files(net, tmp_path_factory.mktemp("cpm"), data, settings)[2]


def trained(solver: Path, device: str, *options: str) -> tuple[list[float], dict[str, Any], dict[str, Any]]:
    """Train; return the losses, the last validation, and the weights of the end."""
    name = f"{device}/run"
    words = ["train", "--solver", str(solver), "--device", device, "--set", f'snapshot_prefix: "{name}"', *options]
    assert main(words) == 0
    records = read_metrics(f"{name}.metrics.jsonl")
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    (*_, measured) = [{}, *(record for record in records if record["kind"] == "validation")]
    return losses, measured, read_weights(f"{name}_iter_{len(losses)}.caffemodel")


@pytest.mark.parametrize("option", TRAINING)
def test_a_run_follows_the_cpus(option: str, solver: Path, here: Path) -> None:
    words = TRAINING[option]
    losses, measured, weights = trained(solver, "cuda", *words)
    on_cpu = [word for word in words if word not in ("--compile", "--amp", "bf16", "tf32")]
    if not {"--recompute", "--channels-last"} & set(words):
        on_cpu.append("--no-engine")
    expected, expected_measured, expected_weights = trained(solver, "cpu", *on_cpu)
    tolerance = 3e-2 if "bf16" in words else 1e-2 if "tf32" in words else EXACT
    assert len(losses) == 4
    assert losses == pytest.approx(expected, rel=tolerance)
    assert measured.keys() == expected_measured.keys()
    if measured and tolerance == EXACT:
        assert measured["pck"] == pytest.approx(expected_measured["pck"])
    assert weights.keys() == expected_weights.keys()
    assert all(np.isfinite(blob).all() for blobs in weights.values() for blob in blobs)


def test_resuming_ends_where_a_run_that_never_stopped_does(solver: Path, here: Path) -> None:
    losses, _, weights = trained(solver, "cuda", "--ema", "0.5")
    state = here / "cuda" / "run_iter_2.solverstate"
    again, _, resumed = trained(solver, "cuda", "--ema", "0.5", "--snapshot", str(state))
    assert again == losses
    for name, blobs in weights.items():
        for blob, other in zip(blobs, resumed[name], strict=True):
            np.testing.assert_allclose(other, blob, rtol=1e-5, atol=1e-7 * np.abs(blob).max())


def test_a_solvers_test_net_is_measured_on_the_gpu(here: Path) -> None:
    """`solver_mode: GPU` with a device_id chooses the device; the test net shares the weights there."""
    text = f'net: "{SOLVERS / "train.prototxt"}" base_lr: 1e-3 lr_policy: "fixed" max_iter: 4 device_id: 1'
    Path("s.prototxt").write_text(f"{text} test_iter: 2 test_interval: 2")
    losses = {}
    for mode in ("GPU", "CPU"):
        assert main(["train", "-solver", "s.prototxt", "--set", f'solver_mode: {mode} snapshot_prefix: "{mode}"']) == 0
        records = read_metrics(f"{mode}.metrics.jsonl")
        losses[mode] = {record["iteration"]: record["loss"] for record in records if record["kind"] == "test"}
    assert list(losses["GPU"]) == [0, 2, 4]
    assert losses["GPU"] == pytest.approx(losses["CPU"], rel=EXACT)


def test_caffes_test_and_time_run_on_a_gpu(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = str(SOLVERS / "train.prototxt"), str(SOLVERS / "init.caffemodel")
    said = []
    for flags in ([], ["-gpu", "0"]):
        assert main(["test", "-model", net, "-weights", weights, "-iterations", "2", *flags]) == 0
        said.append(float(capsys.readouterr().out.splitlines()[-1].split()[2]))
    assert said[1] == pytest.approx(said[0], rel=EXACT)
    assert main(["time", "-model", net, "-iterations", "2", "-gpu", "0"]) == 0
    assert "*** Benchmark ends ***" in capsys.readouterr().out


def test_a_model_of_ones_own_is_trained_and_predicts_on_a_gpu(here: Path) -> None:
    data = write_own_data(here / "own", FIVE, range(6))
    write_own(here / "tiny")
    quick = ["--iterations", "4", "--batch-size", "2", "--validate-interval", "2", "--no-onnx", "--device", "cuda"]
    assert main(["finetune", "--data", str(data), "--from", "tiny", "--out", "out", *quick]) == 0
    photo = here / "own" / "images" / "0.png"
    assert predicted(here, photo, ["--model", str(here / "out")]) == 5


# -- prediction --------------------------------------------------------------------------------------------------------


def predicted(folder: Path, source: Path, words: Sequence[str]) -> int:
    """Predict on the CPU and on the GPU; the results must be the same. Return how many joints they hold."""
    joints = {}
    for device in ("cpu", "cuda"):
        out = folder / device
        options = ["--device", device, "--out", str(out), "--no-pictures", "--no-maps"]
        if device == "cpu":
            options += ["--precision", "float32"]  # the last one counts
        assert main(["predict", str(source), *words, *options]) == 0
        joints[device] = list(_joints(json.loads((out / f"{source.stem}.json").read_text())))
    assert joints["cuda"], joints
    np.testing.assert_allclose(joints["cuda"], joints["cpu"], atol=1e-3)
    return len(joints["cuda"])


def _joints(found: Any) -> Iterator[tuple[float, float, float]]:
    """Give x, y, score of every joint in a result, however deep."""
    if isinstance(found, dict):
        if {"x", "y", "score"} <= found.keys():
            yield found["x"], found["y"], found["score"]
        found = list(found.values())
    if isinstance(found, list):
        for each in found:
            yield from _joints(each)


def squares(shift: int = 0) -> np.ndarray:
    """Draw a blue, a green and a red square."""
    image = np.zeros((96, 128, 3), np.uint8)
    for channel, (x, y) in enumerate(((30, 40), (80, 30), (55, 70))):
        image[y - 10 : y + 11, x + shift - 10 : x + shift + 11, channel] = 250
    return image


@pytest.fixture
def colours(here: Path) -> list[str]:
    (here / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(here / "colours.caffemodel")
    return ["--net", str(here / "colours.prototxt"), "--weights", str(here / "colours.caffemodel")]


@pytest.fixture
def picture(here: Path) -> Path:
    cv2.imwrite(str(here / "squares.png"), squares())
    return here / "squares.png"


BOXES = ["--box", "10", "20", "90", "60", "--box", "40", "10", "60", "80"]


@pytest.mark.parametrize(
    "options",
    [[], ["--flip"], ["--mode", "demo"], BOXES],
    ids=["one person", "mirrored too", "as the demo", "two boxes"],
)
def test_joints_in_a_picture_are_the_cpus(options: list[str], colours: list[str], picture: Path, here: Path) -> None:
    assert predicted(here, picture, [*colours, *options]) >= 3


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_coarser_arithmetic_finds_the_same_squares(
    precision: str, colours: list[str], picture: Path, here: Path
) -> None:
    assert main(["predict", str(picture), *colours, "--device", "cuda:1", "--precision", precision]) == 0
    found = np.array(list(_joints(json.loads(Path("results/squares.json").read_text()))))
    np.testing.assert_allclose(found[:, :2], [(30, 40), (80, 30), (55, 70)], atol=6)


def test_everybody_in_a_picture_and_in_a_video_is_found_as_by_a_cpu(
    colours: list[str], picture: Path, here: Path
) -> None:
    with VideoWriter(here / "film.avi", 10.0, (96, 128)) as video:
        for t in range(3):
            video.write(squares(2 * t))
    assert predicted(here, picture, [*colours, "--people", "all"]) >= 3
    assert predicted(here, here / "film.avi", [*colours, "--people", "all"]) >= 9
    assert predicted(here, here / "film.avi", colours) == 9


def test_a_model_that_looks_for_people_finds_those_of_a_cpu(
    picture: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the default model does, with weights of little belief."""
    monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: None)
    entry = small_zoo(here)["default"]
    use_zoo(monkeypatch, {"default": entry}, here / "models")
    write_model(entry.net.with_name(entry.file_name), entry.net)
    for people in ("one", "all"):
        assert predicted(here, picture, ["--people", people, "--person-score", "0"]) >= 14


def test_the_default_model_believes_what_it_does_on_a_cpu(here: Path) -> None:
    np.savez("in.npz", data=np.random.default_rng(1).uniform(-0.5, 0.5, (1, 4, 96, 96)).astype(np.float32))
    assert main(["forward", "--input", "in.npz", "--output", "cpu.npz"]) == 0
    assert main(["compare", "--reference", "cpu.npz", "--input", "in.npz", "--device", "cuda"]) == 0


def test_arrays_go_through_a_net_as_on_a_cpu(colours: list[str], here: Path) -> None:
    np.savez("in.npz", data=np.random.default_rng(1).normal(size=(3, 4, 64, 64)).astype(np.float32))
    assert main(["forward", *colours, "--input", "in.npz", "--output", "cpu.npz"]) == 0
    assert main(["forward", *colours, "--input", "in.npz", "--output", "cuda.npz", "--device", "cuda"]) == 0
    with np.load("cpu.npz") as expected, np.load("cuda.npz") as found:
        assert list(found) == list(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * np.abs(expected[name]).max())
    assert main(["compare", *colours, "--reference", "cpu.npz", "--input", "in.npz", "--device", "cuda"]) == 0


def test_the_notebooks_way_finds_who_a_cpu_finds(here: Path) -> None:
    person = load_net(parse_net(PERSON_NET))
    person.params["map"][0].data[:, 0] = 2.0  # a person is where it is blue
    picture = here / "blurred.png"
    cv2.imwrite(str(picture), cv2.GaussianBlur(squares(), (0, 0), 4.0))
    person.save(here / "person.caffemodel")
    (here / "person.prototxt").write_text(PERSON_NET)
    (here / "pose.prototxt").write_text(colour_net_text(box=368))
    colour_net(box=368).save(here / "pose.caffemodel")
    nets = ["--person-net", "person.prototxt", "--person-weights", "person.caffemodel", "--net", "pose.prototxt"]
    assert predicted(here, picture, ["--people", "notebook", *nets, "--weights", "pose.caffemodel"]) >= 3


def test_the_page_looks_at_a_picture_on_a_gpu(picture: Path) -> None:
    pytest.importorskip("uvicorn")
    from tests.web.serving import serving, tiny_model

    found = {}
    for device in ("cpu", "cuda"):
        with serving(tiny_model(picture.parent), engine=Engine(device)) as client:
            sent = client.upload(picture.read_bytes())
            *_, last = client.look(picture=sent["id"], model="tiny.caffemodel")
            found[device] = list(_joints(last))
    assert found["cuda"] == pytest.approx(found["cpu"], abs=1e-3)


# -- data sets, processes, benches -------------------------------------------------------------------------------------


def evaluation(folder: Path, device: str, save: str) -> list[str]:
    net = ["--net", str(folder / "net.prototxt"), "--weights", str(folder / "net.caffemodel")]
    return ["evaluate", "--protocol", "lsp-pc", *net, "--data", str(folder), "--save", save, "--device", device]


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a data set of LSP's layout, and a tiny net of 14 parts."""
    folder = tmp_path_factory.mktemp("lsp")
    (folder / "images").mkdir()
    people = np.round(drawn_people(LSP14, 5, 3) * 0.2)
    joints = np.concatenate([people + 1, 0 * people[..., :1]], axis=2)
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    for i in range(len(people)):
        cv2.imwrite(str(folder / f"images/im{i + 1:04d}.jpg"), squares(i))
    net = folder / "net.prototxt"
    net.write_text(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64))))
    write_model(folder / "net.caffemodel", net)
    return folder


def test_a_data_set_is_predicted_as_on_a_cpu(data_set: Path, here: Path) -> None:
    found = []
    for device in ("cpu", "cuda"):
        assert main(evaluation(data_set, device, f"{device}.h5")) == 0
        found.append(read_predictions(f"{device}.h5"))
    assert_same(*found)


def assert_same(expected: Predictions, found: Predictions) -> None:
    assert found.names == expected.names
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.joints.xy, expected.joints.xy, atol=1e-3)


def test_two_processes_with_a_gpu_each_give_what_one_gives(
    solver: Path, data_set: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one here leads, validates alone and writes snapshots, while the other, a process of its own, waits long."""
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two GPUs")
    options = ["--validate", HELD_OUT[1], "--validate-interval", "2", "--set", "random_seed: 3"]
    alone, measured, _ = trained(solver, "cuda", *options)
    assert main(evaluation(data_set, "cuda", "alone.h5")) == 0
    commands = [
        ["train", "--solver", str(solver), "--device", "cuda", *options, "--set", 'snapshot_prefix: "both"'],
        evaluation(data_set, "cuda", "both.h5"),
    ]
    stores = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in commands]
    world = {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    world |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    meetings = [{**world, "MASTER_PORT": str(store.port)} for store in stores]
    second = [
        [{**meeting, "RANK": "1", "LOCAL_RANK": "1"}, words] for meeting, words in zip(meetings, commands, strict=True)
    ]
    patience = []
    join = torch.distributed.init_process_group

    def joined(*arguments: Any, timeout: timedelta, **options: Any) -> None:
        patience.append(timeout)
        join(*arguments, timeout=NCCLS_OWN_LIMIT, **options)  # should the other one die, this test must end

    monkeypatch.setattr(torch.distributed, "init_process_group", joined)
    command = [sys.executable, "-m", "tests.pretended_gpu", json.dumps(second)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        try:
            for meeting, words in zip(meetings, commands, strict=True):
                for name, value in {**meeting, "RANK": "0", "LOCAL_RANK": "0"}.items():
                    monkeypatch.setenv(name, value)
                assert main(words) == 0
        except BaseException:
            other.kill()
            raise
        said, _ = other.communicate()
    assert other.returncode == 0
    assert min(patience) > NCCLS_OWN_LIMIT
    if not torch.backends.cuda.is_built():
        assert said.splitlines()[-1] == "[1]"  # the GPUs that the second process took memory of
    records = read_metrics("both.metrics.jsonl")
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses == pytest.approx(alone, rel=EXACT)
    assert [r["pck"] for r in records if r["kind"] == "validation"][-1] == pytest.approx(measured["pck"])
    assert_same(read_predictions("alone.h5"), read_predictions("both.h5"))


@pytest.fixture
def quick_benches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the benches' yardsticks be small."""
    monkeypatch.setattr(_peers, "matrix_rate", functools.partial(_peers.matrix_rate, seconds=0.01, size=64))
    monkeypatch.setattr(train, "_PRODUCT_SIZE", {"cuda": 64})
    monkeypatch.setattr(train, "_CHANNELS", 4)


@pytest.mark.parametrize(
    "words",
    [
        ["precision", "--net", "colours.prototxt", "--weights", "colours.caffemodel", "--repeats", "1",
         "--people", "1"],
        ["train", "--stages", "2", "--width", "8", "--box-size", "32", "--batch-size", "2", "--repeats", "1"],
        ["train", "--stages", "2", "--width", "8", "--box-size", "32", "--batch-size", "2", "--repeats", "1",
         "--amp", "none", "--recompute"],
    ],
    ids=["precision", "train", "train, float32"],
)  # fmt: skip
def test_a_bench_runs_on_a_gpu(words: list[str], quick_benches: None, colours: list[str]) -> None:
    """Whether a promise is kept is the bench's own to say: times mean nothing here."""
    assert main(["bench", *words, "--device", "cuda", "--json", "found.json"]) in (0, 1)
    (found,) = json.loads(Path("found.json").read_text())["results"].values()
    assert found
