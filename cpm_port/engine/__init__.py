"""How a net runs fast: the same parameters and results, other arithmetic. `accelerate(net)` is the door."""

from __future__ import annotations

from cpm_port.engine.net import MEMORY_BOUND, AcceleratedNet, accelerate

__all__ = ["MEMORY_BOUND", "AcceleratedNet", "accelerate"]
