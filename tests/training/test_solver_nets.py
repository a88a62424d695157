"""Which nets a solver trains and tests: named or written inside, several, in states. Oracle: Caffe's rules, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpm_port.caffe import parse_solver, read_solver
from cpm_port.errors import MissingFileError, TrainingError
from cpm_port.training.solver_nets import locate, training_net
from cpm_port.training.solver_nets import testing_nets as nets_to_test


def layer(name: str, rule: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "DummyData" top: "{name}" {rule} dummy_data_param {{ shape {{ dim: 1 }} }} }}'
    )


BOTH = "\n".join(
    [
        layer("t", "include { phase: TRAIN }"),
        layer("a", 'include { phase: TEST stage: "on-test" }'),
        layer("b", 'include { phase: TEST stage: "on-train" }'),
        layer("all"),
    ]
)


def nets_of(solver: str) -> list[tuple[list[str], int]]:
    nets = nets_to_test(parse_solver(solver))
    return [([one.name for one in net.layers], batches) for net, batches in nets]


def test_a_net_inside_the_solver_is_trained_in_its_state() -> None:
    rule = 'include { phase: TRAIN stage: "a" min_level: 1 }'
    inside = f'train_state {{ stage: "a" level: 1 }} net_param {{ {layer("d", rule)} }}'
    for text in (inside, inside.replace("net_param", "train_net_param")):
        net = training_net(parse_solver(text, source="folder/s.prototxt"))
        assert ([one.name for one in net.layers], net.phase) == (["d"], "TRAIN")
        assert net.source.startswith("folder/s.prototxt: ")
    with pytest.raises(TrainingError, match="names no net to train"):
        training_net(parse_solver("base_lr: 1"))


def test_one_inline_net_is_tested_once_for_each_test_iter_and_state() -> None:
    """As Caffe's consolidated LeNet: the same net on the test set and on the training set."""
    states = 'test_state { stage: "on-test" } test_state { stage: "on-train" }'
    solver = f"net_param {{ {BOTH} }} test_iter: 100 test_iter: 600 test_interval: 500 {states}"
    assert nets_of(solver) == [(["a", "all"], 100), (["b", "all"], 600)]
    assert [one.name for one in training_net(parse_solver(solver)).layers] == ["t", "all"]


def test_inline_test_nets_come_first_then_files_then_the_common_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.prototxt").write_text(layer("file"))
    Path("both.prototxt").write_text(layer("both"))
    solver = f"""net: "both.prototxt" test_net: "file.prototxt" test_net_param {{ {layer("inside")} }}
        test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4 test_interval: 5"""
    assert nets_of(solver) == [(["inside"], 1), (["file"], 2), (["both"], 3), (["both"], 4)]


def test_test_nets_do_not_take_the_training_nets_state() -> None:
    solver = f'net_param {{ {BOTH} }} train_state {{ stage: "on-test" }} test_iter: 1 test_interval: 1'
    assert nets_of(solver) == [(["all"], 1)]


def test_a_test_state_may_name_another_phase() -> None:
    solver = f"net_param {{ {BOTH} }} test_state {{ phase: TRAIN }} test_iter: 1 test_interval: 1"
    assert nets_of(solver) == [(["t", "all"], 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"train_net_param {{ {BOTH} }} test_iter: 1 test_iter: 2 test_interval: 1", "2 test_iter for 0 test nets"),
        (f"test_net_param {{ {BOTH} }} test_net_param {{ {BOTH} }} test_iter: 1 test_interval: 1", "1 test_iter for 2"),
        (f"net_param {{ {BOTH} }} test_iter: 1", "test_iter without a positive test_interval"),
        (
            f"net_param {{ {BOTH} }} test_iter: 1 test_interval: 1 test_state {{ }} test_state {{ }}",
            "2 test_state for 1 test nets",
        ),
    ],
)
def test_counts_that_do_not_fit_are_told(text: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        nets_of(text)


def test_a_net_named_from_where_caffe_was_started_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "caffe" / "examples" / "mnist"
    folder.mkdir(parents=True)
    (folder / "net.prototxt").write_text(layer("d"))
    (folder / "solver.prototxt").write_text('net: "examples/mnist/net.prototxt"')
    monkeypatch.chdir(folder.parent)
    assert [one.name for one in training_net(read_solver("mnist/solver.prototxt")).layers] == ["d"]
    with pytest.raises(MissingFileError, match=r"names 'no.prototxt', which is neither here nor at mnist/no.prototxt"):
        locate("no.prototxt", "mnist/solver.prototxt")
