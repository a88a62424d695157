"""RNN: h = tanh(W_hh cont h + W_xh x + b_h), output tanh(W_ho h + b_o).

Parameters: 0 W_xh, 1 b_h, then the static input's weights where there is one, then W_hh, W_ho, b_o. Bottoms, tops and
states: `_recurrent.py`. Source: caffe `rnn_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.layers._recurrent import RecurrentModule, States
from cpm_port.graph.registry import register

__all__ = ["RNN"]


@register("RNN")
class RNN(RecurrentModule):
    """A plain recurrent layer."""

    num_states = 1

    def step(self, given: Tensor, cont: Tensor, states: States) -> tuple[Tensor, States]:
        """Return the output and the hidden state of one step."""
        hidden_weight, output_weight, output_bias = self.blobs[-3:]
        hidden = (given + F.linear(states[0] * cont, hidden_weight)).tanh()
        return F.linear(hidden, output_weight, output_bias).tanh(), (hidden,)
