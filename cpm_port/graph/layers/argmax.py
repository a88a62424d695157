"""ArgMax: where the largest values are, as floats; among equal values the larger index comes first.

With `axis`, that axis shrinks to `top_k` entries: indices, or values where `out_max_val`. Without it each
item is flattened, and the top is (N, 1, top_k, ...) of indices, or (N, 2, top_k, ...) of indices and then
values, of at least three axes. No gradient.

Source: caffe `argmax_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ArgMax"]


@register("ArgMax")
class ArgMax(LayerModule):
    """Indices (and values) of the `top_k` largest."""

    message = "argmax_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Sort in falling order of (value, index)."""
        p = self.fields
        x = x.detach()
        along = x if "axis" in self.given else x.unsqueeze(1).flatten(1)
        axis = p.axis % x.dim() if "axis" in self.given else 1
        values, position = along.flip(axis).sort(dim=axis, descending=True, stable=True)
        values = values.narrow(axis, 0, p.top_k)
        exact = torch.promote_types(x.dtype, torch.float32)  # bfloat16 has no whole numbers between 256 and 258
        indices = (along.shape[axis] - 1 - position.narrow(axis, 0, p.top_k)).to(exact)
        if "axis" in self.given:
            return (values if p.out_max_val else indices,)
        top = torch.stack((indices, values.to(exact)) if p.out_max_val else (indices,), dim=1)
        return (top.reshape(top.shape + (1,) * (x.dim() - 3)),)
