"""What RNN and LSTM share: sequences in, the hidden state from step to step and from call to call.

Bottoms: x (time, streams, ...), cont (time, streams), then a static input (streams, ...) where there is one more
bottom, then with `expose_hidden` the first hidden states (1, streams, num_output). Tops: the outputs (time, streams,
num_output), then with `expose_hidden` the last hidden states. Without it a call begins with the states in which the
last call ended, as in Caffe; `cont` 0 at the first step forgets them.

No gradient flows into `cont`, nor through exposed states, nor from one call into the one before. It knowingly differs:
another number of steps or streams is taken, and the states then begin at zero. Source: caffe `recurrent_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import LayerSpec, MessageView
from cpm_port.caffe.layer_types.recurrent import has_static_input
from cpm_port.graph.module import LayerModule, Shape

__all__ = ["RecurrentModule"]

States = tuple[Tensor, ...]


class RecurrentModule(LayerModule):
    """A layer over time; a subclass's `step` is one step of it.

    Parameters 0 and 1 are the weights and bias that x meets, then the static input's weights, then the subclass's.
    """

    message = "recurrent_param"
    num_states: int

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.static = has_static_input(spec)
        self._carried: States | None = None

    @property
    def replayable(self) -> bool:
        """Whether no state is kept from call to call."""
        return bool(self.fields.expose_hidden)

    def fillers(self) -> list[MessageView | float]:
        """Return the weights' filler for matrices, the bias's for vectors."""
        p = self.fields
        return [p.weight_filler if blob.dim() == 2 else p.bias_filler for blob in self.blobs]

    def step(self, given: Tensor, cont: Tensor, states: States) -> tuple[Tensor, States]:
        """Return one step's output and the new states.

        Parameters
        ----------
        given : Tensor, shape (streams, gates x num_output)
            What the inputs and the bias bring.
        cont : Tensor, shape (streams, 1)
        states : tuple of Tensor, each of shape (streams, num_output)
        """
        raise NotImplementedError

    def forward(self, x: Tensor, cont: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs and, with `expose_hidden`, the last states."""
        given = F.linear(x.flatten(2) if x.dim() > 2 else x.unsqueeze(2), self.blob(0), self.blob(1))
        if self.static:
            given = given + F.linear(others[0].reshape(x.shape[1], -1), self.blob(2))
        cont = cont.detach()
        states = self._first_states(x, others)
        outputs = []
        for now, goes_on in zip(given.unbind(0), cont.unsqueeze(2).unbind(0), strict=True):
            output, states = self.step(now, goes_on, states)
            outputs.append(output)
        last = tuple(state.detach() for state in states)
        if self.fields.expose_hidden:
            return (torch.stack(outputs), *(state.unsqueeze(0) for state in last))
        self._carried = last
        return (torch.stack(outputs),)

    def _first_states(self, x: Tensor, others: tuple[Tensor, ...]) -> States:
        if self.fields.expose_hidden:
            return tuple(state.detach().squeeze(0) for state in others[int(self.static) :])
        shape = (x.shape[1], self.fields.num_output)
        if self._carried is None or self._carried[0].shape != shape:
            return (x.new_zeros(shape),) * self.num_states
        return tuple(state.to(x) for state in self._carried)
