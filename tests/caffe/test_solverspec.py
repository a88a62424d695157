"""A SolverSpec has the file's fields and Caffe's defaults. Oracles: files that real Caffe ran with, texts by hand."""

import dataclasses
import re

import pytest

from cpm_port.caffe import parse_solver, read_solver
from cpm_port.caffe.solverspec import with_changes
from cpm_port.errors import CaffeFormatError, MissingFileError, UsageError
from tests.caffe.support import SOLVER, shared_files


def test_defaults_are_caffes():
    solver = parse_solver("")
    expected = {
        "type": "SGD",
        "net": None,
        "train_net": None,
        "test_nets": (),
        "test_iter": (),
        "test_interval": 0,
        "base_lr": 0.0,
        "lr_policy": "",
        "gamma": 0.0,
        "power": 0.0,
        "stepsize": 0,
        "stepvalue": (),
        "momentum": 0.0,
        "weight_decay": 0.0,
        "regularization_type": "L2",
        "clip_gradients": -1.0,
        "iter_size": 1,
        "max_iter": 0,
        "display": 0,
        "average_loss": 1,
        "snapshot": 0,
        "snapshot_prefix": "",
        "snapshot_format": "BINARYPROTO",
        "snapshot_diff": False,
        "snapshot_after_train": True,
        "solver_mode": "GPU",
        "device_id": 0,
        "random_seed": -1,
        "test_initialization": True,
        "test_compute_loss": False,
        "debug_info": False,
        "weights": (),
        "source": "<string>",
        "notes": (),
    }
    assert {name: getattr(solver, name) for name in expected} == expected
    assert solver.delta == pytest.approx(1e-8)
    assert solver.momentum2 == pytest.approx(0.999)
    assert solver.rms_decay == pytest.approx(0.99)


def test_every_scalar_field_of_the_schema_is_reachable():
    names = set(dataclasses.asdict(parse_solver("")))
    for field in parse_solver("").params.message().DESCRIPTOR.fields:
        hidden = field.name.startswith("_") or field.name in ("solver_type", "layer_wise_reduce", "test_net")
        assert field.message_type is not None or hidden or field.name in names


def test_all_fields_read():
    solver = parse_solver(
        """net: "train.prototxt" test_iter: 5 test_iter: 7 test_interval: 100 base_lr: 8e-5 lr_policy: "step"
        gamma: 0.333 stepsize: 13 stepvalue: 3 stepvalue: 9 momentum: 0.9 weight_decay: 0.0005 iter_size: 2
        max_iter: 600000 snapshot: 2000
        snapshot_prefix: "pose" snapshot_format: HDF5 clip_gradients: 5 solver_mode: CPU random_seed: 7 type: "Adam"
        regularization_type: "L1" average_loss: 3 weights: "a" weights: "b" """
    )
    assert (solver.net, solver.test_iter, solver.stepvalue) == ("train.prototxt", (5, 7), (3, 9))
    assert solver.base_lr == pytest.approx(8e-5)
    assert (solver.lr_policy, solver.snapshot_format, solver.solver_mode) == ("step", "HDF5", "CPU")
    assert (solver.type, solver.regularization_type, solver.random_seed) == ("Adam", "L1", 7)
    assert solver.weights == ("a", "b")


@pytest.mark.parametrize("path", sorted(SOLVER.glob("*.solver.prototxt")), ids=lambda path: path.name)
def test_the_solvers_of_real_caffe_read(path):
    solver = read_solver(path)
    text = path.read_text()
    assert solver.net == "train.prototxt"
    assert solver.max_iter == 20
    assert solver.notes == ()
    for name in ("type", "lr_policy"):
        found = re.search(rf'^{name}: "(.*)"', text, re.MULTILINE)
        assert getattr(solver, name) == (found.group(1) if found else "SGD")


@pytest.mark.parametrize("path", shared_files("**/*solver*.prototxt"), ids=lambda path: path.name)
def test_solvers_from_the_wild_read_without_notes(path):
    solver = read_solver(path)
    assert solver.notes in ((), ("upgraded the solver's type",))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("net: 'a' train_net: 'b'", "given by net and train_net; expected one"),
        ("net: 'a' net_param { }", "given by net and net_param"),
        ("base_lr: fast", "1:10: found 'fast' for 'base_lr', expected a number"),
        ("snapshot_format: ZIP", "expected one of HDF5, BINARYPROTO"),
    ],
)
def test_contradictions_are_refused(text, what):
    with pytest.raises(CaffeFormatError, match=f"^solver.prototxt:.*{what}"):
        parse_solver(text, source="solver.prototxt")


def test_unknown_fields_are_noted():
    assert parse_solver("display: 1 warmup: 5", source="s").notes == (
        "s:1:12: SolverParameter has no field 'warmup'; kept as text, not used",
    )


def test_a_missing_solver_is_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        read_solver(tmp_path / "solver.prototxt")


def test_changes_replace_fields_and_repeated_ones_whole():
    solver = parse_solver("net: 'n' stepvalue: 1 stepvalue: 2 base_lr: 1 solver_mode: GPU", source="s.prototxt")
    changed = with_changes(solver, "stepvalue: 7 solver_mode: CPU device_id: 3 train_state { stage: 'a' }")
    assert (changed.stepvalue, changed.solver_mode, changed.device_id, changed.base_lr) == ((7,), "CPU", 3, 1.0)
    assert changed.params.train_state.stage == ("a",)
    assert changed.params.has("device_id"), "whoever asks the message sees the change, too"
    assert (changed.source, changed.net) == ("s.prototxt", "n")


@pytest.mark.parametrize("text", ["net: 'm'", "test_net: 'm'", "train_net_param { }", "base_lrr: 1 base_lr: 1"])
def test_changes_that_cannot_be_made_are_refused(text):
    with pytest.raises(UsageError, match="cannot change"):
        with_changes(parse_solver("net: 'n'"), text)
