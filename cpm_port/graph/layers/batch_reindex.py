"""BatchReindex: items of the first bottom's batch, picked (or repeated) by the second.

Source: caffe `batch_reindex_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["BatchReindex"]


@register("BatchReindex")
class BatchReindex(LayerModule):
    """y = x[index], along axis 0."""

    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor]:
        """Return shape (len(index), *x.shape[1:])."""
        return (x.index_select(0, as_indices(index.flatten(), x.shape[0], self.spec)),)
