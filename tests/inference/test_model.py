"""A model that is made ready says what a user should know of its arithmetic. Oracle: the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cpm_port import load_net
from cpm_port.inference import model
from cpm_port.inference.model import Engine, fast_choice
from cpm_port.models import architecture, deploy_text
from cpm_port.zoo import resolve


@pytest.mark.parametrize(("precision", "told"), [("float32", False), ("bf16", True)])
def test_bfloat16_on_a_cpu_without_its_instructions_is_told(
    precision: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net, weights = tmp_path / "n.prototxt", tmp_path / "m.caffemodel"
    net.write_text(deploy_text(architecture("flic", stages=1, width=4, box=(64, 64))))
    load_net(net).save(weights)
    monkeypatch.setattr(model, "slow_bfloat16", lambda device: f"slow on {device}")
    with caplog.at_level(logging.WARNING, "cpm_port"):
        fast_choice(resolve(None, net, weights), Engine(precision=precision))
    assert ("slow on cpu" in caplog.messages) == told
