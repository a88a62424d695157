"""One value, another's gradient: for layers whose backward pass in Caffe is not the forward's derivative."""

from __future__ import annotations

from torch import Tensor

__all__ = ["with_gradient_of"]


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """Return `value` exactly, with the gradient that `surrogate` (same shape, finite) has."""
    return value.detach() + (surrogate - surrogate.detach())
