"""LSTMUnit: one step of an LSTM from its gates' inputs: new cell = f c + i g, hidden = o tanh(new cell).

i, f and o are sigmoids of the first three quarters of the second bottom, g the tanh of the last; f is 0 where `cont` is
0, which gets no gradient. Source: caffe `lstm_unit_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["LSTMUnit", "lstm_step"]


def lstm_step(cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """Return the new cell and the hidden state, of `cell`'s shape.

    Parameters
    ----------
    cell : Tensor, shape (..., cells)
    gates : Tensor, shape (..., 4 x cells)
    cont : Tensor, shape (..., 1)
    """
    i, f, o, g = gates.chunk(4, dim=-1)
    forget = (cont * f.sigmoid()).masked_fill(cont == 0, 0)
    cell = forget * cell + i.sigmoid() * g.tanh()
    return cell, o.sigmoid() * cell.tanh()


@register("LSTMUnit")
class LSTMUnit(LayerModule):
    """Cell (1, N, D), gates (1, N, 4 D) and cont (1, N) to the new cell and the hidden state."""

    def forward(self, cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new cell and the hidden state."""
        return lstm_step(cell, gates, cont.detach().unsqueeze(-1))
