"""The studies at a size of seconds: what they compare is what they say, and gradients do vanish where they must.

Several seeds are runs of their own, and their record is what the command printed and drew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.errors import UsageError
from cpm_port.studies import STUDIES, StudySize, default_scale, gradients, receptive_field, run_study, schemes, stages
from cpm_port.studies.common import average_curves, design, draw_people, stage_of, train, train_spec, with_stages
from cpm_port.studies.receptive_field import _KERNELS, _count_weights, _field, _net
from cpm_port.studies.records import fingerprint, read_record
from cpm_port.studies.report import spread

TINY = {"width": 8, "box": 48, "batch": 2, "iterations": 6, "people": 8, "held_out": 4}


def _silent(_line: str) -> None:
    pass


def test_gradients_vanish_without_intermediate_supervision_and_not_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a loss per stage the first layer's gradients are like the last stage's; without, a thousandth at most."""
    sizes = ["--stages", "4", "--width", "8", "--box", "48", "--batch", "2", "--iterations", "3", "--people", "6"]
    assert main(["study", "gradients", "--out", str(tmp_path), "--seeds", "2", *sizes]) == 0
    printed = capsys.readouterr()
    assert "seed 1: without intermediate supervision: iteration 3 of 3" in printed.err
    record = read_record(tmp_path / "gradients.json")
    assert record["command"] == f"cpm-port study gradients --seeds 2 {' '.join(sizes)}"
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    assert fingerprint(record) in (tmp_path / "gradients.svg").read_text()
    vanishing = gradients.numbers(record["runs"])
    assert list(vanishing) == ["iteration 0", "iteration 1", "iteration 2"]
    assert max(max(values) for values in vanishing.values()) < 1e-3
    mean, low, high = spread(vanishing["iteration 2"])
    assert f"iteration 2: {mean} ({low} to {high})\n" in printed.out
    for run in record["runs"]:
        first, last = run["layers"][0], "Mconv1_stage4"
        for look in run["gradients"]["with"]:
            assert look[first]["mean"] > 0.1 * look[last]["mean"]
            assert sum(look[first]["histogram"]) == 8 * 3 * 9 * 9
        for with_, without in zip(run["gradients"]["with"], run["gradients"]["without"], strict=True):
            assert without["Mconv5_stage4"]["mean"] == pytest.approx(with_["Mconv5_stage4"]["mean"], rel=0.5)


@pytest.mark.parametrize(
    ("name", "curves"),
    [("schemes", ["joint", "stagewise", "finetuned", "unsupervised"]), ("stages", ["1", "2"])],
)
def test_a_study_gives_curves_and_a_picture(name: str, curves: list[str], tmp_path: Path) -> None:
    record = run_study(name, StudySize(stages=2, **TINY), tmp_path, _silent)
    (run,) = record["runs"]
    assert list(run["pck"]) == curves
    for curve in run["pck"].values():
        assert len(curve) == 21
        assert curve == sorted(curve)
    assert read_record(tmp_path / f"{name}.json") == record
    assert (tmp_path / f"{name}.svg").stat().st_size > 1000


def test_the_receptive_field_study_gives_points_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpm_port.studies.receptive_field._KERNELS", ((9, 3), (9, 11)))
    record = run_study("receptive-field", StudySize(**TINY), tmp_path, _silent)
    (run,) = record["runs"]
    assert [point["receptive_field"] for point in run["points"]] == [208, 400]
    assert [point["receptive_field_of_stage_1"] for point in run["points"]] == [160, 160]
    assert list(receptive_field.numbers([run, run])) == ["stage 1, 160 px", "stage 2, 208 px", "stage 2, 400 px"]
    assert len(receptive_field.numbers([run, run])["stage 1, 160 px"]) == 4  # of two nets, twice
    assert (tmp_path / "receptive_field.svg").stat().st_size > 1000


def test_the_third_scheme_starts_from_the_second_ones_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the paper has it: (iii) is (i), for as many iterations, from what (ii) ended with."""
    started: dict[str, list[Any]] = {}

    def watched(spec: Any, *given: Any, name: str, iterations: int, weights: Any = None) -> Any:
        net = train(spec, *given, name=name, iterations=iterations, weights=weights)
        started.setdefault(name, []).append((iterations, weights, net, spec.message))
        return net

    monkeypatch.setattr(schemes, "train", watched)
    schemes.run(StudySize(stages=2, **TINY), _silent)
    ((joint, nothing, _, net),) = started["(i) joint, a loss at every stage"]
    ((finetuned, weights, _, same),) = started["(iii) stage by stage, then joint"]
    ((share, _, ended, _),) = started["(ii) stage by stage, stage 2"]
    assert (joint, finetuned, share) == (6, 6, 3)
    assert nothing is None
    assert weights is ended
    assert net == same


@pytest.mark.parametrize("kernels", _KERNELS)
def test_receptive_fields_grow_with_kernels_and_weights_stay_alike(kernels: tuple[int, int]) -> None:
    """By hand: kernels of k before, between and after three poolings by two, then three of r on maps of stride 8."""
    scale = default_scale("receptive-field")
    spec = _net(scale, *kernels)
    k, r = kernels
    poolings = 1 + 2 + 4
    stage_1 = 1 + poolings + (k - 1) * (1 + 2 + 4 + 8) + (min(k, 5) - 1) * 8
    assert _field(spec, "conv7_stage1") == stage_1
    assert _field(spec, "Mconv5_stage2") == stage_1 + 3 * 8 * (r - 1)
    if k > 1:  # the narrowest kernels hit the limit on the width
        assert _count_weights(spec) == pytest.approx(_count_weights(_net(scale, 9, 11)), rel=0.06)


def test_kernels_are_no_larger_than_the_papers() -> None:
    spec = _net(default_scale("receptive-field"), 9, 11)
    plain = train_spec(design(default_scale("receptive-field"), 2), default_scale("receptive-field"))
    assert spec.message == plain.message


def test_frozen_stages_stay_and_silent_losses_do_not_count() -> None:
    scale = StudySize(stages=2, **TINY)
    people = draw_people(scale)
    spec = train_spec(design(scale), scale)
    start = train(spec, people, scale, _silent, name="start", iterations=1)
    before = {name: blobs[0].detach().clone() for name, blobs in start.params.items()}
    net = train(with_stages(spec, [2], [2]), people, scale, _silent, name="second", iterations=2, weights=start)
    assert net.loss_weights == {"loss_stage2": 1.0}
    for name, blobs in net.params.items():
        moved = not np.array_equal(blobs[0].detach().numpy(), before[name].numpy())
        assert moved == (stage_of(name) == 2), name


def test_studies_repeat_to_the_digit(tmp_path: Path) -> None:
    scale = StudySize(stages=1, **TINY)
    first = run_study("stages", scale, tmp_path / "a", _silent)["runs"]
    both = run_study("stages", scale, tmp_path / "b", _silent, seeds=2)["runs"]
    assert both[0] == first[0]
    assert both[1]["seed"] == 1
    assert both[1]["pck"] != both[0]["pck"]


def test_what_is_done_before_a_run_breaks_off_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(scale: StudySize, _say: Any) -> dict[str, Any]:
        if scale.seed == 2:
            raise KeyboardInterrupt
        return {"pck": {"1": [float(scale.seed)]}}

    monkeypatch.setattr(stages, "run", run)
    with pytest.raises(KeyboardInterrupt):
        run_study("stages", StudySize(), tmp_path, _silent, seeds=3)
    assert [run["seed"] for run in read_record(tmp_path / "stages.json")["runs"]] == [0, 1]


def test_curves_count_errors_up_to_the_threshold() -> None:
    curve = average_curves(np.array([0.0, 0.05, 0.2, 0.3]))
    assert (curve[0], curve[4], curve[5], curve[20]) == (25.0, 25.0, 50.0, 75.0)


def test_an_unknown_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one of gradients"):
        run_study("colours", StudySize(), tmp_path, _silent)
    with pytest.raises(UsageError, match="0 seeds: expected at least 1"):
        run_study("stages", StudySize(), tmp_path, _silent, seeds=0)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_default_size(name: str) -> None:
    assert default_scale(name).iterations > 0
