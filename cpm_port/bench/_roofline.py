"""The roofline on paper: what a net's passes cost at least, in operations and in bytes, and what a card can do of them.

A kernel cannot be quicker than its operations at the card's matrix rate, nor than what it reads and writes at the
card's memory bandwidth. Counted here: every layer is a kernel of its own that reads its bottoms and weights once and
writes its tops once; a layer's operations are those of the direct sums. `merged` counts a ReLU as part of the
convolution before it, so that it costs no bytes.

Not counted: what a kernel loses where channels do not fill the matrix units (a net's first layers have 3 or 4), the
indices that PyTorch's max-pooling writes on a GPU, the way back, and the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cpm_port.caffe import NetSpec, infer_shapes, layer_flops, param_shapes

__all__ = ["CARDS", "Card", "LayerWork", "ideal_seconds", "net_work"]

_FREE = {"Input", "Split", "Silence"}  # no kernels
_REWRITES = {"ReLU", "Dropout"}  # in place: they read and write the blob again


@dataclass(frozen=True)
class Card:
    """A GPU as its maker describes it.

    Attributes
    ----------
    bf16 : float
        Dense matrix rate in bfloat16 with sums in float32, operations a second.
    bandwidth : float
        Of its memory, bytes a second.
    source : str
        Where both are published.
    """

    bf16: float
    bandwidth: float
    source: str


CARDS = {
    "H200 SXM": Card(989e12, 4.8e12, "NVIDIA H200 datasheet: 1,979 TFLOPS with sparsity, half of it dense; 4.8 TB/s"),
    "H200 NVL": Card(835e12, 4.8e12, "NVIDIA H200 datasheet: 1,671 TFLOPS with sparsity, half of it dense; 4.8 TB/s"),
    "A100 SXM 80 GB": Card(312e12, 2.039e12, "NVIDIA A100 datasheet: 312 TFLOPS dense; 2,039 GB/s"),
    "A100 PCIe 40 GB": Card(312e12, 1.555e12, "NVIDIA A100 datasheet: 312 TFLOPS dense; 1,555 GB/s"),
    "RTX 4090": Card(165.2e12, 1.008e12, "NVIDIA Ada architecture paper: 165.2 TFLOPS dense; 1,008 GB/s"),
}


@dataclass(frozen=True)
class LayerWork:
    """What one layer of a pass costs at least.

    Attributes
    ----------
    name, type : str
    operations : int
    values : int
        Read and written.
    """

    name: str
    type: str
    operations: int
    values: int


def net_work(spec: NetSpec, images: int, *, merged: bool = False) -> list[LayerWork]:
    """Return the work of one pass of so many images, layer by layer.

    Parameters
    ----------
    spec : NetSpec
        A deploy net.
    images : int
    merged : bool
        Whether a ReLU is a part of the kernel before it.
    """
    shapes = infer_shapes(spec, {name: (images, *shape[1:]) for name, shape in spec.inputs.items()})
    work = []
    for layer in spec.layers:
        bottoms = [shapes[bottom] for bottom in layer.bottoms]
        if layer.type in _FREE or (merged and layer.type in _REWRITES):
            continue
        moved = [*bottoms, *(shapes[top] for top in layer.tops), *param_shapes(layer, bottoms)]
        work.append(
            LayerWork(
                layer.name, layer.type, layer_flops(layer, bottoms) or 0, sum(math.prod(shape) for shape in moved)
            )
        )
    return work


def ideal_seconds(work: Sequence[LayerWork], card: Card, *, value_bytes: int = 2) -> tuple[float, float]:
    """Return the least time of a pass on a card: where computing and memory overlap in no kernel, and in all of them.

    The first is the sum of both, the second, layer by layer, the longer one.
    """
    pairs = [(each.operations / card.bf16, each.values * value_bytes / card.bandwidth) for each in work]
    return sum(computing + moving for computing, moving in pairs), sum(max(pair) for pair in pairs)
