"""Whole runs from a solver file. Oracles: real Caffe's runs (goldens), unbroken runs, one process for two."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cpm_port.caffe import read_weights
from cpm_port.cli import main
from cpm_port.compute.devices import World, joined_world
from cpm_port.drawn.source import DrawnPeople, DrawnRecords
from cpm_port.engine import learning
from cpm_port.errors import CaffeFormatError, MissingFileError, TrainingError, UsageError, WeightsError
from cpm_port.models import SolverSettings, TrainingData, architecture, write_files
from cpm_port.parts import CPM14, MPII16, PartOrder
from cpm_port.records.genjson import write_genjson
from cpm_port.records.lmdb import write_lmdb
from cpm_port.training import run
from cpm_port.training.loop import Trainer
from cpm_port.training.progress import read_metrics
from cpm_port.training.run import WITHOUT_EFFECT, RunOptions, open_run, solver_device
from tests.training.support import CPU, SOLVERS, start_node

E2E_TOLERANCE = 1e-4  # issue C's; ten iterations of a 6-stage net in float32, with sums in another order than Caffe's
DRAWN = "drawn:count=40,size=64,seed=3"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder: snapshots go there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _weights(trainer: Trainer) -> Iterator[tuple[str, int, np.ndarray]]:
    for layer, blobs in trainer.net.params.items():
        for index, blob in enumerate(blobs):
            yield layer, index, blob.detach().numpy()


def _solved(**options: Any) -> Trainer:
    with open_run(RunOptions(**options), CPU) as trainer:
        trainer.solve()
    return trainer


@pytest.fixture(scope="module")
def cpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CPM of two stages that trains on drawn people; return its solver file."""
    net = architecture("mpi", stages=2, width=8, box=(48, 48))
    settings = SolverSettings(base_lr=1e-6, max_iter=6, display=1, snapshot=3)
    return write_files(net, tmp_path_factory.mktemp("cpm"), TrainingData(DRAWN, batch_size=4), settings)[2]


@pytest.mark.parametrize("variant", ["sgd_step", "sgd_step_hdf5", "sgd_bigdecay_iter3_clip"])
def test_a_solver_file_runs_from_anywhere_and_ends_where_caffe_does(
    variant: str, here: Path, golden: Callable[[str], dict[str, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    """HDF5Data feeds the net, found beside the solver file; the command says where the last snapshot is."""
    solver = str(SOLVERS / f"{variant}.solver.prototxt")
    arguments = ["train", "--solver", solver, "--weights", str(SOLVERS / "init.caffemodel"), "--device", "cpu"]
    assert main(arguments) == 0
    suffix = ".h5" if variant.endswith("hdf5") else ""
    assert capsys.readouterr().out == f"done at iteration 20: {variant}_iter_20.solverstate{suffix}\n"
    expected = golden(f"caffe/solver/{variant}.npz")
    for layer, blobs in read_weights(here / f"{variant}_iter_20.caffemodel{suffix}").items():
        for index, blob in enumerate(blobs):
            reference = expected[f"w/{layer}/{index}"][20]
            assert np.abs(blob - reference).max() <= 1e-6 * np.abs(reference).max()
    records = [record for record in read_metrics(f"{variant}.metrics.jsonl") if record["kind"] == "train"]
    assert [record["loss"] for record in records] == pytest.approx(expected["loss_logged"], rel=5.5e-6)


def test_resuming_caffes_snapshot_from_the_command_line_ends_on_its_iteration_20(
    here: Path, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    snapshot = str(SOLVERS / "adam_fixed_iter_10.solverstate")
    arguments = ["train", "--solver", str(SOLVERS / "adam_fixed.solver.prototxt"), "--snapshot", snapshot]
    assert main([*arguments, "--device", "cpu"]) == 0
    expected = golden("caffe/solver/adam_fixed.npz")
    for layer, blobs in read_weights(here / "adam_fixed_iter_20.caffemodel").items():
        for index, blob in enumerate(blobs):
            reference = expected[f"w/{layer}/{index}"][20]
            assert np.abs(blob - reference).max() <= 1e-6 * np.abs(reference).max()


@pytest.mark.parametrize("engine", [False, True])
def test_a_six_stage_cpm_trains_as_in_the_authors_caffe(
    engine: bool, shared: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their data layer, augmentation by C's rand() after srand(1), labels, net and solver, for ten iterations."""
    for rate in ("_DIRECT", "_DIRECT_FEW"):
        monkeypatch.setattr(learning, rate, 1e6)  # direct sums are slow: narrow layers are worth the engine's while
    engines: list[int] = []
    convolve = learning.convolve
    monkeypatch.setattr(
        learning, "convolve", lambda *given, **how: engines.append(how["size"]) or convolve(*given, **how)
    )
    folder = shared / "golden" / "caffe" / "train_e2e"
    options = RunOptions(
        folder / "pose_solver.prototxt", weights=[folder / "init.caffemodel"], srand=1, workers=1, engine=engine
    )
    with np.load(folder / "trajectory.npz") as expected, open_run(options, CPU) as trainer:
        for iteration in range(10):
            trainer.step()
            losses = list(trainer.last_losses.values())
            np.testing.assert_allclose(losses, expected["loss"][iteration], rtol=E2E_TOLERANCE)
            if f"w/iter{iteration + 1}/conv1_stage1/0" in expected:
                for layer, index, found in _weights(trainer):
                    reference = expected[f"w/iter{iteration + 1}/{layer}/{index}"]
                    off = np.abs(found - reference).max() / np.abs(reference).max()
                    assert off <= E2E_TOLERANCE, f"iteration {iteration + 1}, {layer}[{index}]: {off:.2g}"
    assert bool(engines) == engine


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({}, False),
        ({"engine": True}, True),
        ({"preset": "adamw"}, True),
        ({"preset": "adamw", "engine": False}, False),
        ({"preset": "adamw", "bfloat16": True}, False),
        ({"preset": "adamw", "channels_last": True}, False),
        ({"preset": "adamw", "recompute": True}, False),
    ],
)
def test_the_engine_trains_where_it_is_asked_for_or_caffes_numbers_are_left(
    options: dict[str, Any], engine: bool, cpm: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(run, "Objective", lambda *_, **how: asked.append(how["engine"]))
    with open_run(RunOptions(cpm, **options), CPU):
        assert asked == [engine]


@pytest.mark.parametrize("other", ["bfloat16", "compiled", "recompute"])
def test_the_engine_excludes_other_ways_to_compute(other: str, cpm: Path, here: Path) -> None:
    with pytest.raises(UsageError, match="engine and"), open_run(RunOptions(cpm, engine=True, **{other: True}), CPU):
        pass


@pytest.mark.parametrize("preset", [None, "adamw"])
@pytest.mark.parametrize("workers", [(0, 2), (1, 0)])
def test_resuming_a_cpm_equals_never_stopping_augmentation_included(
    preset: str | None, workers: tuple[int, int], cpm: Path, here: Path
) -> None:
    common = {"solver": cpm, "preset": preset}
    whole = _solved(**common, changes='snapshot_prefix: "whole"')
    with open_run(RunOptions(**common, workers=workers[0], changes='snapshot_prefix: "part"'), CPU) as trainer:
        while trainer.iteration < 4:
            trainer.step()
        trainer.snapshot()
    part = _solved(**common, workers=workers[1], changes='snapshot_prefix: "part"', snapshot="latest")
    assert (whole.iteration, part.iteration) == (6, 6)
    for (layer, index, a), (_, _, b) in zip(_weights(whole), _weights(part), strict=True):
        assert np.array_equal(a, b), f"{layer}[{index}]"
    assert whole.last_losses == part.last_losses


def test_latest_without_a_snapshot_is_the_start(cpm: Path, here: Path) -> None:
    assert _solved(solver=cpm, snapshot="latest", changes="max_iter: 1").iteration == 1


def test_fine_tuning_reports_what_was_matched_ignored_and_left(
    cpm: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    donor = _solved(solver=cpm, changes="max_iter: 1")
    other = architecture("mpi", stages=3, width=8, box=(48, 48))
    solver = write_files(other, here / "other", TrainingData(DRAWN, 4), SolverSettings(max_iter=1, display=1))[2]
    donor.net.save("donor.caffemodel")
    assert main(["train", "--solver", str(solver), "--weights", "donor.caffemodel", "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "Weights donor.caffemodel: 16 layers matched" in said
    assert "left as they were, as the file lacks them: conv1_stage3, Mconv1_stage3" in said
    assert main(["train", "--solver", str(cpm), "--weights", "mpi_iter_1.caffemodel", "--device", "cpu"]) == 0
    assert "ignored, as the net lacks them: conv1_stage3, Mconv1_stage3" in capsys.readouterr().err


def test_fine_tuning_to_other_parts_names_the_layers_that_do_not_fit(cpm: Path, here: Path) -> None:
    donor = _solved(solver=cpm, changes="max_iter: 1")
    donor.net.save("donor.caffemodel")
    hands = architecture("mpi", stages=2, parts=21, width=8, box=(48, 48))
    solver = write_files(hands, here / "hands", TrainingData(DRAWN, 4))[2]
    with (
        pytest.raises(WeightsError, match=r"(?s)layer 'conv7_stage1'.*--skip-misfits"),
        open_run(RunOptions(solver, weights=["donor.caffemodel"]), CPU),
    ):
        pass


def test_misfits_keep_their_fillers_where_asked(cpm: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    donor = _solved(solver=cpm, changes="max_iter: 1")
    for path in ("donor.caffemodel", "donor.safetensors"):
        donor.net.save(path)
    arms = architecture("mpi", stages=2, parts=9, width=8, box=(48, 48))
    _, train, solver = write_files(arms, here / "arms", TrainingData(DRAWN, 4))
    train.write_text(train.read_text().replace("np_in_lmdb: 9", "np_in_lmdb: 16"))
    options = RunOptions(solver, weights=["donor.caffemodel"], skip_misfits=True)
    with open_run(options, CPU, console=sys.stderr) as trainer:
        assert torch.equal(trainer.net.params["conv1_stage1"][0], donor.net.params["conv1_stage1"][0])
    said = capsys.readouterr().err
    assert "13 layers matched" in said
    assert "layer 'conv7_stage1': weight blob is (15, 8, 1, 1), prototxt says (10, 8, 1, 1)" in said
    again = RunOptions(solver, weights=["donor.safetensors"], skip_misfits=True)
    with open_run(again, CPU, console=sys.stderr) as other:
        assert torch.equal(other.net.params["conv1_stage1"][0], donor.net.params["conv1_stage1"][0])
    assert capsys.readouterr().err.split(":", 1)[1] == said.split(":", 1)[1]


def test_old_files_biases_are_no_misfits(cpm: Path, here: Path) -> None:
    """A V1 file, such as VGG's, keeps a bias of n as (1, 1, 1, n): it fits, and with misfits skipped is not skipped."""
    donor = _solved(solver=cpm, changes="max_iter: 1")
    old = {layer: [b.detach().numpy() for b in blobs] for layer, blobs in donor.net.params.items()}
    old = {layer: [weight, bias.reshape(1, 1, 1, -1)] for layer, (weight, bias) in old.items()}
    with open_run(RunOptions(cpm), CPU) as trainer:
        report = trainer.net.load_weights(old, strict=False, skip_misfits=True)
        assert (len(report.matched), report.misfits) == (16, ())
        assert torch.equal(trainer.net.params["conv1_stage1"][1], donor.net.params["conv1_stage1"][1])


def test_later_weights_override_earlier_ones(cpm: Path, here: Path) -> None:
    donor = _solved(solver=cpm, changes="max_iter: 1")
    donor.net.save("a.caffemodel")
    with torch.no_grad():
        donor.net.params["conv1_stage1"][0].fill_(7.0)
    donor.net.save("b.caffemodel")
    with open_run(RunOptions(cpm, weights=["a.caffemodel", "b.caffemodel"]), CPU) as trainer:
        assert (trainer.net.params["conv1_stage1"][0] == 7.0).all()


def test_test_nets_see_the_weights_being_trained(here: Path, golden: Callable[[str], dict[str, np.ndarray]]) -> None:
    """The TEST phase reads the same five batches: before iteration 0 their mean loss is that of the initial weights."""
    changes = "test_iter: 5 test_interval: 10 max_iter: 20"
    solver = SOLVERS / "sgd_step.solver.prototxt"
    _solved(solver=solver, weights=[SOLVERS / "init.caffemodel"], changes=changes)
    tests = [record for record in read_metrics("sgd_step.metrics.jsonl") if record["kind"] == "test"]
    assert [record["iteration"] for record in tests] == [0, 10, 20]
    with open_run(RunOptions(solver, weights=[SOLVERS / "init.caffemodel"], changes="base_lr: 0"), CPU) as frozen:
        losses = []
        for _ in range(5):
            frozen.step()
            losses.append(frozen.last_losses["loss"])
    assert tests[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert tests[2]["loss"] < 0.5 * tests[0]["loss"]


@pytest.mark.parametrize("at_start", [True, False])
def test_a_resumed_runs_test_data_go_on_where_an_unbroken_ones_would(at_start: bool, here: Path) -> None:
    """Tests of two batches out of five: what a test sees depends on how many went before. Both resume and run on."""
    start = {"solver": SOLVERS / "sgd_step.solver.prototxt", "weights": [SOLVERS / "init.caffemodel"]}
    changes = f"test_iter: 2 test_interval: 3 snapshot: 4 test_initialization: {str(at_start).lower()}"
    _solved(**start, changes=f'{changes} max_iter: 12 snapshot_prefix: "whole"')
    _solved(**start, changes=f'{changes} max_iter: 4 snapshot_prefix: "part"')
    _solved(solver=start["solver"], snapshot="latest", changes=f'{changes} max_iter: 12 snapshot_prefix: "part"')
    whole, part = (
        [record for record in read_metrics(f"{name}.metrics.jsonl") if record["kind"] == "test"]
        for name in ("whole", "part")
    )
    assert [record["iteration"] for record in whole] == [0, 3, 6, 9, 12][not at_start :]
    assert part == whole


def test_the_solvers_seed_and_weights_are_taken_unless_the_user_says_otherwise(cpm: Path, here: Path) -> None:
    Path("s.prototxt").write_text(f'{cpm.read_text()} random_seed: 5 weights: "donor.caffemodel"')
    Path("mpi_train.prototxt").write_text((cpm.parent / "mpi_train.prototxt").read_text())
    donor = _solved(solver=cpm, seed=9, changes="max_iter: 1")
    donor.net.save("donor.caffemodel")
    with open_run(RunOptions("s.prototxt"), CPU) as trainer:
        assert trainer.seed == 5
        assert all(
            np.array_equal(a, b) for (_, _, a), (_, _, b) in zip(_weights(trainer), _weights(donor), strict=True)
        )
    with open_run(RunOptions("s.prototxt", seed=6), CPU) as trainer:
        assert trainer.seed == 6


def test_validation_and_its_picture(cpm: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--solver", str(cpm), "--device", "cpu", "--plot", "run.svg", "--set", "max_iter: 4"]
    arguments += ["--validate", "drawn:count=6,size=64,seed=9", "--validate-interval", "2", "--validate-limit", "4"]
    assert main(arguments) == 0
    found = [record for record in read_metrics("mpi.metrics.jsonl") if record["kind"] == "validation"]
    assert [record["iteration"] for record in found] == [2, 4]
    assert list(found[0]["stages"]) == ["conv7_stage1", "Mconv5_stage2"]
    assert found[0]["pck"] == found[0]["stages"]["Mconv5_stage2"]
    assert len(found[0]["parts"]) == 14
    assert "validation: PCK@0.2" in capsys.readouterr().err
    assert Path("run.svg").read_text().startswith("<?xml")
    side = json.loads(Path("mpi_iter_4.solverstate.json").read_text())
    assert set(side["best"]) in ({"score", "iteration"}, set())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"snapshot": "nowhere.solverstate"}, MissingFileError, "no such snapshot"),
        ({"snapshot": "x.solverstate", "weights": ["a"]}, UsageError, "starts from one or goes on"),
        ({"preset": "lamb"}, UsageError, "expected one of adamw"),
        ({"changes": "learning: 3"}, CaffeFormatError, "no field 'learning'"),
        ({"changes": 'net: "other"'}, UsageError, "cannot change net"),
        ({"changes": "max_iter: 0"}, TrainingError, "max_iter is 0"),
        ({"changes": "test_iter: 3"}, TrainingError, "without a positive test_interval"),
        ({"weights": ["nowhere.caffemodel"]}, MissingFileError, "nowhere.caffemodel"),
        ({"validate": DRAWN, "validate_interval": -1}, UsageError, "validate_interval -1"),
        ({"validate": DRAWN, "validate_limit": 0}, UsageError, "validate_limit 0"),
    ],
)
def test_what_cannot_be_run_is_refused(
    options: dict[str, Any], error: type[Exception], message: str, cpm: Path, here: Path
) -> None:
    with pytest.raises(error, match=message), open_run(RunOptions(cpm, **options), CPU):
        pass


def test_a_resumed_run_keeps_its_seed_and_says_so(cpm: Path, here: Path) -> None:
    _solved(solver=cpm, changes="max_iter: 3", seed=5)
    with pytest.raises(UsageError, match="a run with seed 5 goes on with it, not 6"):
        _solved(solver=cpm, snapshot="latest", seed=6)
    assert _solved(solver=cpm, snapshot="latest").seed == 5


def test_a_run_that_is_over_names_the_snapshot_it_ended_with(
    cpm: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--solver", str(cpm), "--device", "cpu", "--set", "max_iter: 3"]
    for more in ([], ["--snapshot", "latest"]):
        assert main([*arguments, *more]) == 0
        assert capsys.readouterr().out == "done at iteration 3: mpi_iter_3.solverstate\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--plot", "run.foo"], "run.foo: a picture's suffix"), (["--plot", "run.svg", "--set", "display: 0"], "no loss")],
)
def test_a_picture_that_could_not_be_drawn_is_refused_before_the_run(
    options: list[str], message: str, cpm: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--solver", str(cpm), "--device", "cpu", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(here.glob("*.caffemodel"))


def test_own_data_with_own_parts_trains_flips_and_validates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five parts of drawn people as a user's own JSON file; the same as an LMDB says that flips exchange nothing."""
    names = ("head_top", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
    rows = [CPM14.index(name) for name in names]
    samples = []
    for number in range(6):
        sample, image = DrawnPeople(6, 64)[number]
        cv2.imwrite(f"{number}.png", image)
        own = replace(sample.person, joints=sample.person.joints[rows], visible=sample.person.visible[rows])
        split = "validation" if number > 3 else "train"
        fields = {"dataset": "MINE", "order": PartOrder("mine", names, ()), "person": own, "others": ()}
        samples.append(replace(sample, image=Path(f"{number}.png"), split=split, **fields))
    write_genjson("train.json", samples)
    net = architecture("mpi", stages=1, parts=5, width=8, box=(48, 48))
    _, train, solver = write_files(net, here, TrainingData("train.json", batch_size=4), SolverSettings(max_iter=1))
    for cached in (False, True):
        labels = []
        for flip in (0, 1):
            text = train.read_text().replace("stride: 8", f"stride: 8 flip_prob: {flip}", 1)
            for name, value in (("scale_min", 0.7), ("scale_max", 1.3), ("max_rotate_degree", 40)):
                text = text.replace(f"{name}: {value}", f"{name}: {int(name != 'max_rotate_degree')}")
            (here / f"flip{flip}.prototxt").write_text(text)
            (here / "s.prototxt").write_text(solver.read_text().replace(train.name, f"flip{flip}.prototxt"))
            with open_run(RunOptions("s.prototxt", cached=cached), CPU) as trainer:
                labels.append(trainer.source.next_batch()["label"][0])
        mirrored = labels[0][[0, 2, 1, 4, 3]][:, :, ::-1]
        np.testing.assert_allclose(labels[1][:5], mirrored, atol=1e-4)
    with open_run(RunOptions(solver, validate="train.json"), CPU, console=sys.stderr) as trainer:
        trainer.solve()
    said = capsys.readouterr().err
    assert "PCK@0.2" in said
    assert f"of {2 * 5} joints" in said
    assert "flips" not in said
    assert main(["records", "lmdb", "db", "--source", "train.json", "--joints", "5"]) == 0
    solver.write_text(solver.read_text().replace(train.name, "db.prototxt"))
    (here / "db.prototxt").write_text(train.read_text().replace("train.json", "db"))
    with open_run(RunOptions(solver), CPU, console=sys.stderr):
        pass
    assert "layer 'data': flips exchange no parts of 5 in an LMDB" in capsys.readouterr().err


def test_four_processes_on_two_nodes_equal_one(cpm: Path, here: Path) -> None:
    """Under torchrun with gloo, two processes a node, each with its part of every augmented batch.

    Gradients add up over two passes and are clipped. (`test_processes.py` holds two processes to one.)
    """
    nodes = 2
    train = (cpm.parent / "mpi_train.prototxt").read_text()
    Path("mpi_train.prototxt").write_text(train.replace("std: 0.01", "std: 0.1"))  # so that every layer learns
    Path("solver.prototxt").write_text(cpm.read_text())
    arguments = ["--solver", "solver.prototxt", "--device", "cpu"]
    arguments += ["--set", "iter_size: 2 clip_gradients: 99 base_lr: 1e-4"]
    changes = ["--set", 'max_iter: 9 display: 4 snapshot: 5 snapshot_prefix: "all"']
    runs = [start_node(node, nodes, 2, [*arguments, *changes]) for node in range(nodes)]
    told = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0] * nodes, told
    assert sorted(out for out, _ in told)[-1] == "done at iteration 9: all_iter_9.solverstate\n"
    assert main(["train", *arguments, changes[0], changes[1].replace("all", "one")]) == 0
    start, one, both = (
        read_weights(here / f"{name}.caffemodel") for name in ("one_iter_5", "one_iter_9", "all_iter_9")
    )
    for layer, blobs in one.items():
        for before, a, b in zip(start[layer], blobs, both[layer], strict=True):
            assert np.abs(a - b).max() <= 2e-6 * np.abs(a).max(), layer
            assert np.abs(a - before).max() > 1e-4 * np.abs(a).max(), f"{layer} has not learnt"
    losses = [
        [(r["iteration"], r["loss"]) for r in read_metrics(f"{name}.metrics.jsonl") if r["kind"] == "train"]
        for name in ("one", "all")
    ]
    assert [i for i, _ in losses[0]] == [i for i, _ in losses[1]] == [0, 4, 8]
    assert [loss for _, loss in losses[0]] == pytest.approx([loss for _, loss in losses[1]], rel=1e-6)


def test_masked_training_ignores_joints_without_a_label(here: Path) -> None:
    """Records without wrists and head: their maps are NaN in the label, and the losses see nothing of them."""
    lacking = ["left_wrist", "right_wrist", "head_top"]  # a flip changes nothing about them
    records = []
    for record in map(DrawnRecords(count=4, size=64, seed=3).__getitem__, range(4)):
        joints = record.person.joints.copy()
        joints[[MPII16.index(part) for part in lacking]] = (-1, -1, 0)
        records.append(replace(record, person=replace(record.person, joints=joints), others=()))
    write_lmdb("people", records)
    net = architecture("mpi", stages=2, width=8, box=(48, 48))
    solver = write_files(net, here, TrainingData("people", batch_size=4), SolverSettings(max_iter=1))[2]
    with open_run(RunOptions(solver, masked=True), CPU) as masked, open_run(RunOptions(solver), CPU) as plain:
        hidden, shown = masked.source.next_batch()["label"], plain.source.next_batch()["label"]
        blank = np.isnan(hidden).all(axis=(2, 3))
        assert np.isnan(hidden).any(axis=(2, 3)).tolist() == blank.tolist()
        wanted = sorted(CPM14.index(part) for part in lacking)
        assert [np.flatnonzero(row).tolist() for row in blank] == [wanted + [15 + part for part in wanted]] * 4
        assert (shown[blank] == 0).all()
        assert np.array_equal(hidden[~blank], shown[~blank])
        for trainer in (masked, plain):
            for beliefs in ("conv7_stage1", "Mconv5_stage2"):
                with torch.no_grad():
                    trainer.net.params[beliefs][1].fill_(0.1)
            trainer.step()
        for stage, loss in masked.last_losses.items():
            assert 0 < loss < plain.last_losses[stage]


def test_fields_without_effect_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = "debug_info: true snapshot_diff: true layer_wise_reduce: false"
    options = RunOptions(SOLVERS / "sgd_step.solver.prototxt", changes=changes)
    with open_run(options, CPU, console=sys.stderr):
        pass
    said = capsys.readouterr().err
    for name in WITHOUT_EFFECT:
        assert f"{name} has no effect" in said


def test_the_solvers_mode_chooses_the_device(here: Path) -> None:
    Path("cpu").write_text("solver_mode: CPU")
    Path("gpu").write_text("solver_mode: GPU")
    assert solver_device("cpu") == "cpu"
    assert solver_device("gpu") is None
    assert solver_device("gpu", "solver_mode: CPU") == "cpu"


@pytest.mark.gpu
def test_training_on_a_gpu_follows_the_cpu(here: Path, cpm: Path) -> None:
    """The loop's late look at a GPU's numbers, pinned batches and snapshots; float32 sums in another order."""
    on_cpu = _solved(solver=cpm, changes='snapshot_prefix: "cpu"')
    options = RunOptions(cpm, changes='snapshot_prefix: "gpu"')
    with joined_world("cuda") as world, open_run(options, world) as on_gpu:
        on_gpu.solve()
    for name, loss in on_cpu.last_losses.items():
        assert on_gpu.last_losses[name] == pytest.approx(loss, rel=1e-4)
    resumed = _solved(solver=cpm, changes='snapshot_prefix: "gpu" max_iter: 7', snapshot="latest")
    assert resumed.iteration == 7


@pytest.mark.gpu
def test_bfloat16_trains_on_a_gpu(here: Path, cpm: Path) -> None:
    options = RunOptions(cpm, preset="adamw", bfloat16=True, channels_last=True, changes="max_iter: 20 snapshot: 0")
    with joined_world("cuda") as world, open_run(options, world) as trainer:
        trainer.step()
        trainer.snapshot()
        first = sum(trainer.last_losses.values())
        trainer.solve()
    assert sum(trainer.last_losses.values()) < first


def test_threads_that_make_batches_are_as_many_as_a_gpus_process_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "own_cores", lambda: 16)
    on_gpu, options = World(0, 2, torch.device("cuda")), RunOptions("s.prototxt", workers=None)
    assert run._workers(options, CPU) == 1
    assert run._workers(options, on_gpu) == 15
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert run._workers(options, on_gpu) == 7
    assert run._workers(replace(options, workers=3), on_gpu) == 3


def test_a_prefix_that_is_a_folder_is_caffes_place_for_snapshots(here: Path) -> None:
    """`latest` finds what Caffe left there: folder/<solver's stem>_iter_N."""
    (here / "models").mkdir()
    solver = SOLVERS / "sgd_step.solver.prototxt"
    changes = 'snapshot_prefix: "models" snapshot: 2'
    options = {"solver": solver, "weights": [SOLVERS / "init.caffemodel"]}
    _solved(**options, changes=f"{changes} max_iter: 2")
    assert sorted(path.name for path in (here / "models").glob("*.caffemodel")) == ["sgd_step.solver_iter_2.caffemodel"]
    with open_run(RunOptions(**options, snapshot="latest", changes=f"{changes} max_iter: 3"), CPU) as trainer:
        assert trainer.iteration == 2
    assert list(here.glob("models_*")) == []


def test_bfloat16_on_a_cpu_without_its_instructions_is_told(
    cpm: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "slow_bfloat16", lambda device: f"slow on {device}")
    for bfloat16 in (False, True):
        console = io.StringIO()
        with open_run(RunOptions(cpm, bfloat16=bfloat16), CPU, console=console):
            pass
        assert ("slow on cpu" in console.getvalue()) == bfloat16
