"""Claim: a candidate's costs are those of the net that its command writes.

Oracle: the same net, made by the generator; its weights counted.
"""

from __future__ import annotations

import pytest

from cpm_port.errors import DataError
from cpm_port.models import architecture, build
from cpm_port.scorecard import shapes

SMALL = "cpm-port prototxt --arch mpi --stages 2 --width 4 --box-size 32"


def test_a_candidate_is_the_net_of_its_command() -> None:
    net = shapes.candidate_net(SMALL)
    twin = build(architecture("mpi", stages=2, width=4, box=(32, 32)))
    assert net.spec.inputs == {"data": (1, 4, 32, 32)}
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in twin.parameters())
    assert float(net.params["conv1_stage1"][0].std().detach()) == pytest.approx((2 / (3 * 81)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("command", ["", "cpm-port train --solver x", "cpm-port prototxt --arch mpi --stages 0"])
def test_a_candidate_that_makes_no_net_is_refused(command: str) -> None:
    with pytest.raises(DataError, match="what makes a net"):
        shapes.candidate_net(command)


def test_costs_stand_beside_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "REPEATS", 2)
    monkeypatch.setattr("cpm_port.bench._timing.gc.collect", lambda: 0)  # slow, and no matter for what is claimed here
    before = {"what": "tried", "nets": [{"command": SMALL, "iterations": 7, "total": 1.5}]}
    after = shapes.with_costs(before)
    (net,) = after["nets"]
    assert (net["command"], net["iterations"], net["total"], after["what"]) == (SMALL, 7, 1.5, "tried")
    assert net["parameters"] == sum(p.numel() for p in shapes.candidate_net(SMALL).parameters())
    assert net["flops"] > 2 * net["parameters"]
    assert set(net["milliseconds"]) == {"plain", "engine"}
    assert min(net["milliseconds"].values()) > 0
    assert "milliseconds" not in before["nets"][0]
