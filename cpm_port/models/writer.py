"""What the generator of Caffe files writes a net with: layers by their kind, then all of them as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cpm_port.caffe import message_class
from cpm_port.caffe.text import format_fields
from cpm_port.models.architectures import Architecture

__all__ = ["NetWriter"]


class NetWriter:
    """A net being written; every method adds layers and returns the name of what they give."""

    def __init__(self, net: Architecture) -> None:
        self.net = net
        self.fields: list[tuple[str, Any]] = []

    def layer(self, name: str, type_: str, bottoms: Sequence[str], tops: Sequence[str], *rest: tuple[str, Any]) -> str:
        """Write any layer; return its first top."""
        blobs = [("bottom", b) for b in bottoms] + [("top", t) for t in tops]
        self.fields.append(("layer", [("name", name), ("type", type_), *blobs, *rest]))
        return tops[0] if tops else ""

    def conv(self, name: str, bottom: str, outputs: int, kernel: int, rate: int, *, relu: bool = True) -> str:
        """Write a convolution that keeps the map's size, and a ReLU in place behind it."""
        self.layer(
            name,
            "Convolution",
            [bottom],
            [name],
            ("param", [("lr_mult", rate), ("decay_mult", 1)]),
            ("param", [("lr_mult", 2 * rate), ("decay_mult", 0)]),
            (
                "convolution_param",
                [
                    ("num_output", outputs),
                    ("pad", kernel // 2),
                    ("kernel_size", kernel),
                    ("weight_filler", [("type", "gaussian"), ("std", 0.01)]),
                    ("bias_filler", [("type", "constant")]),
                ],
            ),
        )
        if relu:
            self.layer(self._relu_name(name), "ReLU", [name], [name])
        return name

    def _relu_name(self, conv: str) -> str:
        if self.net.shifted_relus and conv.startswith("Mconv"):
            number, _, stage = conv.removeprefix("Mconv").partition("_")
            return f"Mrelu{int(number) + 1}_{stage}"
        return conv.replace("conv", "relu")

    def pool(self, name: str, bottom: str, kind: str, kernel: int, stride: int) -> str:
        """Write a pooling, `kind` MAX or AVE."""
        settings = [("pool", kind), ("kernel_size", kernel), ("stride", stride)]
        return self.layer(name, "Pooling", [bottom], [name], ("pooling_param", settings))

    def slice(self, name: str, bottom: str, tops: Sequence[str], point: int) -> str:
        """Write a cut of the channels at `point`."""
        return self.layer(name, "Slice", [bottom], tops, ("slice_param", [("axis", 1), ("slice_point", point)]))

    def concat(self, name: str, bottoms: Sequence[str]) -> str:
        """Write the joining of channels."""
        return self.layer(name, "Concat", bottoms, [name], ("concat_param", [("axis", 1)]))

    def sum(self, name: str, bottoms: Sequence[str]) -> str:
        """Write a sum."""
        return self.layer(name, "Eltwise", bottoms, [name], ("eltwise_param", [("operation", "SUM")]))

    def text(self, comment: str) -> str:
        """Return all that was written as prototxt, a comment first."""
        return f"{comment}\n{format_fields(self.fields, message_class('NetParameter', 'cpm').DESCRIPTOR)}"
