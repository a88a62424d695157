"""LSTM: long short-term memory over sequences; the gates are input, forget, output, and the new content, in this order.

Parameters: 0 W_xc, 1 b_c, then the static input's weights where there is one, then W_hc. Bottoms, tops and states:
`_recurrent.py`. Source: caffe `lstm_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.layers._recurrent import RecurrentModule, States
from cpm_port.graph.layers.lstm_unit import lstm_step
from cpm_port.graph.registry import register

__all__ = ["LSTM"]


@register("LSTM")
class LSTM(RecurrentModule):
    """The output is the hidden state."""

    num_states = 2

    def step(self, given: Tensor, cont: Tensor, states: States) -> tuple[Tensor, States]:
        """Return the hidden state, and both states (hidden, cell), of one step."""
        hidden, cell = states
        gates = given + F.linear(hidden * cont, self.blobs[-1])
        cell, hidden = lstm_step(cell, gates, cont)
        return hidden, (hidden, cell)
