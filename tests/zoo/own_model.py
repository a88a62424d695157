"""A model folder of somebody's own for the tests: a small net, of three parts if not asked otherwise, drawn weights."""

from __future__ import annotations

from pathlib import Path

from cpm_port.models import architecture, deploy_text
from cpm_port.parts import PartOrder
from cpm_port.zoo import OwnModel, write_own_model
from tests.zoo.support import write_model

ORDER = PartOrder("own", ("nose", "left_ear", "right_ear"), (("nose", "left_ear"),), pairs=(("left_ear", "right_ear"),))
HISTORY = [{"validation": {"source": "own.json", "people": 4, "protocol": "p", "threshold": 0.2, "percent": 61.5}}]


def write_own(folder: Path, seed: int = 0, order: PartOrder = ORDER) -> OwnModel:
    folder.mkdir(parents=True, exist_ok=True)
    net = folder / "deploy.prototxt"
    net.write_text(deploy_text(architecture("mpi", stages=2, width=4, parts=len(order), box=(64, 64))))
    write_model(folder / "weights.caffemodel", net, seed)
    model = OwnModel(folder, order, 64, 3.5, "three parts" if order is ORDER else "own parts", HISTORY)
    write_own_model(model)
    return model
