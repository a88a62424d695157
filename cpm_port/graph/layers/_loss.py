"""What loss layers share: how many labels or targets they need, checked before anything runs."""

from __future__ import annotations

import math

from cpm_port.errors import ShapeError
from cpm_port.graph.module import LayerModule, Shape

__all__ = ["LossModule"]


class LossModule(LayerModule):
    """A loss of a prediction (the first bottom) and labels or targets (the last one)."""

    def num_labels(self, prediction: Shape) -> int:
        """Return how many values the last bottom must hold: one per value of the prediction."""
        return math.prod(prediction)

    def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the shapes of the loss and of a second top.

        Raises
        ------
        ShapeError
            The last bottom holds too many or too few values.
        """
        tops = super().top_shapes(bottom_shapes)
        wanted = self.num_labels(bottom_shapes[0])
        if math.prod(bottom_shapes[-1]) != wanted:
            raise ShapeError(
                f"layer {self.spec.name!r} ({self.spec.type}): {self.spec.bottoms[-1]!r} is {bottom_shapes[-1]}, "
                f"expected {wanted} values for a prediction of shape {bottom_shapes[0]}"
            )
        return tops
