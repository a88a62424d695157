"""How a net runs fast: the same parameters and blobs, computed another way.

Exports `accelerate(net)`, for the CPU, and `LearningNet(net)`, for training there; `modes.fast_net` chooses by device
and precision. Data flows from a net's layers
to operations, from these to a plan, and from there to compiled loops:

- `net.py`: `AcceleratedNet`; `program.py`: layers joined into operations; `plan.py`: how to run each convolution;
- `fft.py`, `pointwise.py`: the convolutions, with `_kernels.py`, `_lines.py` and `_products.py` as their loops;
- `learning.py`: `LearningNet`; `gradients.py`: a convolution's way back, with `_weights.py` as its further loops;
- `cuda.py`, `precision.py`: captured graphs on a GPU, and coarser arithmetic;
- `activations.py`: how many images fit into a bound on memory.
"""

from __future__ import annotations

from cpm_port.engine.learning import LearningNet
from cpm_port.engine.net import MEMORY_BOUND, AcceleratedNet, accelerate

__all__ = ["MEMORY_BOUND", "AcceleratedNet", "LearningNet", "accelerate"]
