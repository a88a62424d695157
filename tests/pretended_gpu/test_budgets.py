"""Claim: the host waits for a GPU no more often than is said here.

Oracle: the waits that the pretended GPU notes, or that PyTorch warns of on a real one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpm_port.compute.devices import World
from cpm_port.engine.cuda import GraphedNet
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.inference import beliefs
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.stream import THREADS, PersonToFind, predict_stream
from cpm_port.inference.whole_picture import find_person
from cpm_port.training.objective import Objective
from tests.inference.nets import colour_net
from tests.pretended_gpu.waiting import waits
from tests.training.support import golden_net, golden_trainer, make_trainer

pytestmark = pytest.mark.gpu


def find_everybody(net: GraphedNet, image: np.ndarray) -> object:
    return CrowdFinder(net).find(image)


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


@pytest.mark.parametrize("count", [8, 10])
def test_a_stream_of_people_waits_for_the_last_ones_alone(count: int) -> None:
    image = np.random.default_rng(1).integers(0, 255, (80, 100, 3), np.uint8)
    people = [PersonToFind(str(i), image, ScaleSearch((50.0, 40.0), 0.6, (0.8, 1.0, 1.2))) for i in range(count)]
    net = GraphedNet(colour_net().cuda())
    deque(predict_stream(net, people[:4], batch_people=4), maxlen=0)  # captures the graph, which waits
    with waits() as found:
        outcomes = list(predict_stream(net, people, batch_people=4))
    assert [outcome.name for outcome in outcomes] == [str(i) for i in range(count)]
    assert all(outcome.prediction is not None for outcome in outcomes)
    assert len(net._graphs) == 1  # the last two are filled up to four
    assert len(found) <= 1


def test_the_thread_that_feeds_a_gpu_makes_no_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    makers = []

    def noted(*given: Any) -> Any:
        makers.append(threading.current_thread().name)
        return plain(*given)

    plain = beliefs._way_back
    monkeypatch.setattr(beliefs, "_way_back", noted)
    image = np.random.default_rng(1).integers(0, 255, (80, 100, 3), np.uint8)
    beliefs.way_back.cache_clear()
    search = ScaleSearch((50.0, 40.0), 0.6, (0.8, 1.0))
    people = [PersonToFind(str(i), image[:, i:], search) for i in range(20)]  # everybody's image has a size of its own
    deque(predict_stream(colour_net().cuda(), people, batch_people=8), maxlen=0)
    assert len(makers) == len(people)
    assert all(name.startswith(f"{THREADS}.maker") for name in makers)


@pytest.mark.parametrize(("finder", "looks"), [(find_person, 2), (find_everybody, 4)])
def test_a_whole_picture_is_waited_for_once_a_look(finder: Callable[..., object], looks: int) -> None:
    image = np.random.default_rng(1).integers(0, 255, (80, 100, 3), np.uint8)
    net = GraphedNet(colour_net().cuda())
    finder(net, image)
    with waits() as found:
        finder(net, image)
    assert len(found) <= 1 + looks, found  # the survey, and each look
