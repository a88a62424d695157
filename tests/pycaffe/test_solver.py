"""Solvers step, snapshot and resume as pycaffe's do.

Oracles: real Caffe's 18 runs (tests/golden/caffe/solver); the claims of upstream's test_solver.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from tests.pycaffe.support import CLASSES, SMALL_NET, write
from tests.support import GOLDEN

FOLDER = GOLDEN / "caffe" / "solver"
VARIANTS = sorted(path.name.removesuffix(".solver.prototxt") for path in FOLDER.glob("*.solver.prototxt"))
TOLERANCE = 1e-6  # of a blob's largest magnitude: float32 sums in another order
SMALL_SOLVER = """net: "{net}" test_iter: 10 test_interval: 10 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005
lr_policy: "inv" gamma: 0.0001 power: 0.75 display: 100 max_iter: 100 snapshot_after_train: false
snapshot_prefix: "{folder}/model" """

Golden = Callable[[str], dict[str, np.ndarray]]


def small_solver(folder: Path, kind: str = "SGDSolver") -> caffe.Solver:
    net = write(folder, SMALL_NET)
    solver = getattr(caffe, kind)(write(folder, SMALL_SOLVER.format(net=net, folder=folder), "solver.prototxt"))
    for one in (solver.net, *solver.test_nets):
        labels = one.blobs["label"]
        labels.data[...] = np.random.RandomState(0).randint(CLASSES, size=labels.shape)
    return solver


def golden_solver(variant: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> caffe.Solver:
    monkeypatch.chdir(folder)  # snapshots go there; the net is found beside its solver
    return caffe.get_solver(FOLDER / f"{variant}.solver.prototxt")


def assert_weights(solver: caffe.Solver, expected: dict[str, np.ndarray], iteration: int) -> None:
    for key in expected:
        if key.startswith("w/"):
            _, layer, index = key.split("/")
            found, wanted = solver.net.params[layer][int(index)].data, expected[key][iteration]
            assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max(), (key, iteration)


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_and_losses_follow_caffe_for_twenty_iterations(
    variant: str, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = golden(f"caffe/solver/{variant}.npz")
    solver = golden_solver(variant, tmp_path, monkeypatch)
    solver.net.copy_from(FOLDER / "init.caffemodel")
    for iteration in range(20):
        assert_weights(solver, expected, iteration)
        assert solver.lr == pytest.approx(expected["lr_logged"][iteration], rel=5.5e-6)
        solver.step(1)
        (loss,) = (solver.net.blobs[name].data for name in solver.net.outputs)
        assert loss == pytest.approx(expected["loss_last_subiter"][iteration], rel=TOLERANCE)
    assert_weights(solver, expected, 20)
    assert solver.iter == 20


@pytest.mark.parametrize("variant", ["sgd_multistep", "adam_fixed", "sgd_step_hdf5"])
def test_caffes_own_snapshots_are_resumed(
    variant: str, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = golden(f"caffe/solver/{variant}.npz")
    solver = golden_solver(variant, tmp_path, monkeypatch)
    for _ in range(10):
        solver.net.forward()  # Caffe's data layers go on where they are, so take the first ten batches
    (state,) = FOLDER.glob(f"{variant}_iter_10.solverstate*")
    solver.restore(state)
    assert_weights(solver, expected, solver.iter)
    solver.step(10)
    assert_weights(solver, expected, 20)


def test_a_snapshot_resumes_as_if_it_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = golden_solver("sgd_step", tmp_path, monkeypatch)
    first.step(3)
    first.snapshot()
    second = golden_solver("sgd_step", tmp_path, monkeypatch)
    for _ in range(3):
        second.net.forward()
    second.restore(tmp_path / "sgd_step_iter_3.solverstate")
    first.step(2)
    second.step(2)
    for name, blobs in first.net.params.items():
        for mine, theirs in zip(blobs, second.net.params[name], strict=True):
            assert np.array_equal(mine.data, theirs.data)


def test_solve_runs_to_max_iter(tmp_path: Path) -> None:
    solver = small_solver(tmp_path)
    assert solver.iter == 0
    solver.solve()
    assert solver.iter == 100


def test_an_update_takes_what_stands_in_diff(tmp_path: Path) -> None:
    solver = small_solver(tmp_path)
    blob = solver.net.layers[1].blobs[0]
    weights = blob.data
    weights[...], blob.diff[...] = 0, 1
    solver.apply_update()
    assert np.abs(weights + 0.01).max() < 1e-7
    solver.param.base_lr = 0.1
    assert solver.lr == pytest.approx(0.1)


def test_nets_outlive_their_solver(tmp_path: Path) -> None:
    solver = small_solver(tmp_path)
    nets = [solver.net, *solver.test_nets]
    assert len(nets) == 2
    del solver
    assert np.isfinite(sum(blob.data.sum() + blob.diff.sum() for net in nets for blob in net.blobs.values()))


def test_snapshots_have_caffes_names(tmp_path: Path) -> None:
    small_solver(tmp_path).snapshot()
    assert {path.name for path in tmp_path.glob("model*")} == {"model_iter_0.caffemodel", "model_iter_0.solverstate"}


def test_test_nets_get_the_trained_weights_when_they_are_tested(tmp_path: Path) -> None:
    solver = small_solver(tmp_path)
    trained, tested = (net.params["ip"][0] for net in (solver.net, *solver.test_nets))
    assert not np.array_equal(trained.data, tested.data)
    solver.step(1)
    assert np.shares_memory(trained.data, tested.data)


def test_callbacks_come_before_an_iteration_and_before_its_update(tmp_path: Path) -> None:
    solver, seen = small_solver(tmp_path), []
    weight = solver.net.params["ip"][0]

    def ready() -> None:
        seen.append(("ready", bool(weight.diff.any()), weight.data.sum()))

    solver.add_callback(lambda: seen.append(("start", solver.iter, weight.data.sum())), ready)
    solver.step(2)
    assert [name for name, _, _ in seen] == ["start", "ready"] * 2
    assert seen[0][2] == seen[1][2] != seen[2][2]


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_get_solver_chooses_the_class_that_the_file_names(kind: str, tmp_path: Path) -> None:
    text = f'net: "{write(tmp_path, SMALL_NET)}" base_lr: 0.01 lr_policy: "fixed" max_iter: 1 type: "{kind}"'
    solver = caffe.get_solver(write(tmp_path, text, "solver.prototxt"))
    assert type(solver).__name__ == f"{kind}Solver"
    assert isinstance(solver, caffe.Solver)


def test_a_missing_solver_is_a_runtime_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Could not open file"):
        caffe.SGDSolver(tmp_path / "nowhere.prototxt")


def test_fields_that_the_schema_lacks_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = write(tmp_path, SMALL_NET.replace("decay_mult: 0", "decay_mult: 0 lr_mul: 2"))
    text = SMALL_SOLVER.format(net=net, folder=tmp_path).replace("weight_decay", "weigth_decay")
    caffe.SGDSolver(write(tmp_path, text, "solver.prototxt"))
    assert "SolverParameter has no field 'weigth_decay'" in caplog.text
    assert "layer 'conv': ParamSpec has no field 'lr_mul'" in caplog.text
