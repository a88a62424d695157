"""The residual design: a pose machine whose stages share the features of a small residual net.

Not the release's: made to be trained from nothing in hours on a CPU, and to run quickly there. What makes it a
Convolutional Pose Machine stays: belief maps at stride 8 after every stage, each with a loss of its own, and the center
map from stage 2 on.

    conv1 7x7/2, pool 3x3/2      stride 4
    two blocks                   stride 4
    two blocks, the first /2     stride 8   (*)
    two blocks, the first /2     stride 16
    deconvolution 2x2/2          stride 8, plus (*), and one more block: the features of every stage
    stage 1                      1 x 1 convolution, beliefs
    stage t                      features, beliefs of stage t - 1, center map; 1 x 1 convolution, blocks of dilation
                                 1, 2, 4, ...; beliefs

A block is two 3 x 3 convolutions beside a shortcut, as in ResNets (He et al., 2016). In the train net a BatchNorm and a
Scale follow every convolution; in the deploy net they are folded into it (`cpm_port.formats.folding`), so that it holds
convolutions, ReLUs, sums and one deconvolution only.

Layers are named by their place: `block2_1_conv1` is the first convolution of the first block at the second resolution.
"""

from __future__ import annotations

from typing import Any

from cpm_port.models.architectures import DILATIONS, ResidualWidths
from cpm_port.models.writer import NetWriter

__all__ = ["residual_stages"]


def residual_stages(writer: NetWriter, widths: ResidualWidths, stages: int, maps: int, *, trained: bool) -> None:
    """Write all layers from the blob `image` (and `pool_center_lower`) to the beliefs of every stage.

    Parameters
    ----------
    writer : NetWriter
    widths : ResidualWidths
    stages, maps : int
        Number of stages, and channels of each one's beliefs.
    trained : bool
        With BatchNorm and Scale layers, and fillers; else as deployed, folded.
    """
    net = _Layers(writer, trained)
    blob = net.convolution("conv1", "image", widths.stem, 7, stride=2)
    blob = writer.pool("pool1", blob, "MAX", 3, 2)
    channels, at_stride_8 = widths.stem, ""
    for level, outputs in enumerate(widths.strides, start=1):
        for number in range(1, widths.blocks + 1):
            stride = 2 if level > 1 and number == 1 else 1
            blob = net.block(f"block{level}_{number}", blob, channels, outputs, stride=stride)
            channels = outputs
        if level == 2:
            at_stride_8 = blob
    enlarged = net.convolution("enlarge", blob, widths.strides[1], 2, stride=2, transposed=True)
    merged = net.add("merge", enlarged, at_stride_8)
    features = net.block("features", merged, widths.strides[1], widths.strides[1])
    hidden = net.convolution("hidden_stage1", features, widths.strides[1], 1)
    beliefs = net.beliefs("beliefs_stage1", hidden, maps)
    for stage in range(2, stages + 1):
        blob = writer.concat(f"concat_stage{stage}", [features, beliefs, "pool_center_lower"])
        blob = net.convolution(f"hidden_stage{stage}", blob, widths.stage, 1)
        for dilation in DILATIONS:
            name = f"dilated{dilation}_stage{stage}"
            blob = net.block(name, blob, widths.stage, widths.stage, dilation=dilation)
        beliefs = net.beliefs(f"beliefs_stage{stage}", blob, maps)


class _Layers:
    """The design's building blocks; every method writes layers and returns the name of the blob that they give."""

    def __init__(self, writer: NetWriter, trained: bool) -> None:
        self.writer = writer
        self.trained = trained

    def convolution(
        self,
        name: str,
        bottom: str,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        transposed: bool = False,
        relu: bool = True,
        scale: float = 1.0,
    ) -> str:
        """Write a convolution, normalized in training; `scale` is where that begins."""
        fields: list[tuple[str, Any]] = [("num_output", outputs)]
        if self.trained:
            fields.append(("bias_term", False))
        if not transposed and kernel > 1:
            fields.append(("pad", dilation * (kernel // 2)))
        fields.append(("kernel_size", kernel))
        if stride > 1:
            fields.append(("stride", stride))
        if dilation > 1:
            fields.append(("dilation", dilation))
        if self.trained:
            fields.append(("weight_filler", [("type", "msra")]))
        kind = "Deconvolution" if transposed else "Convolution"
        self.writer.layer(name, kind, [bottom], [name], ("convolution_param", fields))
        if self.trained:
            self.writer.layer(f"{name}_norm", "BatchNorm", [name], [name])
            filled = [("filler", [("value", scale)]), ("bias_term", True)]
            decays = (("param", [("decay_mult", 0)]),) * 2
            self.writer.layer(f"{name}_scale", "Scale", [name], [name], *decays, ("scale_param", filled))
        return self.relu(name) if relu else name

    def relu(self, blob: str) -> str:
        """Write a ReLU in place."""
        self.writer.layer(f"{blob}_relu", "ReLU", [blob], [blob])
        return blob

    def add(self, name: str, *bottoms: str) -> str:
        """Write a sum and a ReLU."""
        return self.relu(self.writer.sum(name, bottoms))

    def block(self, name: str, bottom: str, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> str:
        """Write a block: its first convolution may have a stride; in training its sum begins as the shortcut alone."""
        blob = self.convolution(f"{name}_conv1", bottom, outputs, 3, stride=stride, dilation=dilation)
        blob = self.convolution(f"{name}_conv2", blob, outputs, 3, dilation=dilation, relu=False, scale=0.0)
        if stride > 1 or inputs != outputs:
            bottom = self.convolution(f"{name}_shortcut", bottom, outputs, 1, stride=stride, relu=False)
        return self.add(name, blob, bottom)

    def beliefs(self, name: str, bottom: str, maps: int) -> str:
        """Write the linear 1 x 1 convolution that ends a stage."""
        fields: list[tuple[str, Any]] = [("num_output", maps), ("kernel_size", 1)]
        if self.trained:
            fields.append(("weight_filler", [("type", "gaussian"), ("std", 0.01)]))
        rates = ("param", [("decay_mult", 1)]), ("param", [("decay_mult", 0)])
        return self.writer.layer(name, "Convolution", [bottom], [name], *rates, ("convolution_param", fields))
