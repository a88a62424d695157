"""Claim: the host waits for a GPU no more often than is said here.

Oracle: the waits that the pretended GPU notes, or that PyTorch warns of on a real one.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpm_port.compute.devices import World
from cpm_port.engine.cuda import GraphedNet
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.inference.stream import PersonToFind, predict_stream
from cpm_port.inference.whole_picture import SHARES, find_person
from cpm_port.training.objective import Objective
from tests.inference.nets import colour_net
from tests.pretended_gpu.waiting import waits
from tests.training.support import golden_net, golden_trainer, make_trainer

pytestmark = pytest.mark.gpu

PER_PERSON = 2  # are the beliefs finite? where are the peaks?
GPU = World(0, 1, torch.device("cuda", 0))


@pytest.mark.parametrize("options", [{}, {"bfloat16": True}, {"recompute": True}, {"masked": True}])
@pytest.mark.parametrize("variant", ["sgd_step_iter2", "sgd_clip", "adam_fixed"])
def test_an_iteration_of_training_waits_for_nothing(variant: str, options: dict[str, Any], tmp_path: Path) -> None:
    solver = golden_trainer(variant, tmp_path / "run").solver
    net = golden_net().to(GPU.device)
    trainer = make_trainer(solver, net, tmp_path / "run", world=GPU, objective=Objective(net, **options))
    for _ in range(2):
        trainer.step()
    with waits() as found:
        for _ in range(3):
            trainer.step()
    assert found == []
    assert np.isfinite(list(trainer.last_losses.values())).all()


def test_a_person_is_waited_for_twice() -> None:
    image = np.random.default_rng(1).integers(0, 255, (80, 100, 3), np.uint8)
    people = [PersonToFind(str(i), image, ScaleSearch((50.0, 40.0), 0.6, (0.8, 1.0, 1.2))) for i in range(8)]
    net = GraphedNet(colour_net().cuda())
    deque(predict_stream(net, people[:4], batch_people=4), maxlen=0)  # captures the graph, which waits
    with waits() as found:
        outcomes = list(predict_stream(net, people, batch_people=4))
    assert all(outcome.prediction is not None for outcome in outcomes)
    assert len(found) == PER_PERSON * len(people)


def test_a_place_in_a_whole_picture_is_waited_for_once() -> None:
    image = np.random.default_rng(1).integers(0, 255, (80, 100, 3), np.uint8)
    net = GraphedNet(colour_net().cuda())
    find_person(net, image)
    with waits() as found:
        find_person(net, image)
    surveyed = 2 * len(SHARES)  # are the beliefs finite? and the strongest windows
    looked_at, passes = 9 + 3, 2
    assert len(found) <= surveyed + looked_at + passes
