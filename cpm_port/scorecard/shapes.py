"""The shapes that the default model was chosen from: what each costs.

RECORD'S CANDIDATES -> THE SAME WITH COSTS. A candidate is the `cpm-port prototxt` command that writes its net; what it
scored after a short training stands in the record; what it costs is measured here: parameters, FLOPs, and the time of
one pass of one box, by the net's plain layers and by the engine that predicts on CPUs. All nets take turns and the
fastest pass counts, because the machine may be busy. Weights are drawn (He's); no time depends on them.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpm_port.bench._timing import take_turns
from cpm_port.cli import main as command_line
from cpm_port.compute.machine import describe_machine
from cpm_port.engine import accelerate
from cpm_port.errors import DataError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.report.inspect import inspect_net

__all__ = ["candidate_net", "with_costs"]

REPEATS = 25
SEED = 1


def with_costs(candidates: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's `candidates` with every net's parameters, FLOPs and milliseconds, and the machine."""
    nets = [candidate_net(net["command"]) for net in candidates["nets"]]
    sides: dict[str, Callable[[], Any]] = {}
    for number, net in enumerate(nets):
        (shape,) = net.spec.inputs.values()
        box = torch.rand(1, *shape[1:], generator=torch.Generator().manual_seed(SEED)) - 0.5
        sides[f"plain {number}"] = partial(net, box)
        sides[f"engine {number}"] = partial(accelerate(net), box)
    machine = describe_machine()
    with torch.inference_mode():
        spread = take_turns(sides, REPEATS)["spread"]
    rows = []
    for number, (row, net) in enumerate(zip(candidates["nets"], nets, strict=True)):
        facts = inspect_net(net.spec)
        times = {way: round(1e3 * spread[f"{way} {number}"][0], 2) for way in ("plain", "engine")}
        rows.append({**row, "parameters": facts["parameters"], "flops": facts["flops"], "milliseconds": times})
    what = (
        f"one pass of one box by the plain layers and by the engine, the fastest of {REPEATS} turns that all nets took "
        "in one run"
    )
    return {**candidates, "nets": rows, "speed": {"what": what, "machine": machine}}


def candidate_net(command: str) -> CaffeNet:
    """Return the deploy net that a `cpm-port prototxt` command writes, with drawn weights.

    Raises
    ------
    DataError
        The command is another one, or fails.
    """
    words = shlex.split(command)
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(StringIO()):
            failed = words[:2] != ["cpm-port", "prototxt"] or command_line([*words[1:], "--out", folder])
        if failed:
            raise DataError(f"candidate {command!r}: expected `cpm-port prototxt` and what makes a net")
        (deploy,) = Path(folder).glob("*_deploy.prototxt")
        net = load_net(deploy)
    draw = np.random.default_rng(SEED)
    net.load_weights(
        {
            layer: [
                draw.standard_normal(tuple(weight.shape), np.float32) * np.float32(2 / weight[0].numel()) ** 0.5,
                np.zeros(len(bias), np.float32),
            ]
            for layer, (weight, bias) in net.params.items()
        }
    )
    return net
