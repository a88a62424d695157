"""Claim: the documented way to train a net for parts of one's own, from the model that ships, learns.

Oracle: the loss itself, which falls. With the released rate alone it is infinite after four iterations: 748, 864, 2961,
7e13, NaN.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.drawn.source import DrawnPeople
from cpm_port.parts import CPM14, PartOrder
from cpm_port.records.genjson import write_genjson
from cpm_port.training.progress import read_metrics
from cpm_port.zoo import resolve

PARTS = ("head_top", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
SHIPPED = ["--arch", "mpi-vgg", "--stages", "3", "--width", "64", "--front-share", "0.25", "--box-size", "184"]
"""What `cpm-port prototxt` is told so that the net is the shipped model's."""


def _own_data(folder: Path) -> Path:
    """Write 40 drawn people as somebody's own data set: five parts, every fifth person for validation."""
    rows = [CPM14.index(name) for name in PARTS]
    people = DrawnPeople(40, 64)
    samples = []
    for number in range(len(people)):
        sample, image = people[number]
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), image)
        own = replace(sample.person, joints=sample.person.joints[rows], visible=sample.person.visible[rows])
        order, split = PartOrder("own", PARTS, ()), "train" if number % 5 else "validation"
        samples.append(replace(sample, dataset="MINE", image=path, order=order, person=own, others=(), split=split))
    write_genjson(folder / "train.json", samples)
    return folder / "train.json"


def test_fine_tuning_the_shipped_model_by_the_documented_recipe_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    source = str(_own_data(Path("own")))
    assert main(["prototxt", *SHIPPED, "--parts", "5", "--source", source, "--batch-size", "1", "--out", "own"]) == 0
    shipped = str(resolve().weights)
    recipe = ["--weights", shipped, "--skip-misfits", "--validate", source, "--device", "cpu"]
    short = ["--set", "max_iter: 6 display: 1 snapshot: 0 snapshot_after_train: false"]
    assert main(["train", "--solver", "own/mpi_vgg_solver.prototxt", *recipe, *short]) == 0
    assert "26 layers matched" in capsys.readouterr().err, "the net is the shipped model's but for its parts"
    losses = [record["loss"] for record in read_metrics("mpi_vgg.metrics.jsonl") if record["kind"] == "train"]
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]
    assert max(losses) == losses[0]
