"""The arithmetic of a net's forward pass: float32 as Caffe has it, or the faster, coarser kinds that GPUs offer.

- `float32`: convolutions and matrix products in full float32. PyTorch's default on GPUs is TF32 for convolutions.
- `tf32`: their inputs are rounded to 10 bits, sums are float32. GPUs only.
- `bf16`: autocast to bfloat16 (8 bits): convolutions, products and what lies between them. Weights stay float32 and
  are rounded anew in every pass. On a CPU that has its instructions it is faster than the Fourier engine in float32 for
  narrow nets (the default model), and several times slower for wide ones of large kernels (the full MPI net on two
  cores with AVX512-BF16); elsewhere, many times slower, it is for its results alone (`compute.devices.slow_bfloat16`).

Passes are started one at a time, whichever thread asks: TF32's switches are the process's.

What an error of that size does to belief maps and joints is measured by `cpm-port bench precision`
(for the full net: `reference_results/benchmarks/precision.json`). No GPU has run this module's code yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from cpm_port.caffe import NetSpec
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet
from cpm_port.graph.net import Blob

__all__ = ["PRECISIONS", "PreciseNet", "Precision", "arithmetic", "check_precision", "kernels_measured"]

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_TURN = threading.RLock()
_COARSE_SINCE = (8, 0)  # compute capability of the first GPUs (Ampere) that compute in bf16 and TF32


def check_precision(precision: str, device: torch.device) -> None:
    """Raise a UsageError where a device has no such arithmetic."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(f"precision 'tf32' is a GPU's; the device is {device}")
    if precision != "float32" and device.type == "cuda" and torch.cuda.is_available():
        found = torch.cuda.get_device_capability(device)
        if found < _COARSE_SINCE:
            raise UsageError(
                f"precision {precision!r}: expected a GPU of compute capability {'.'.join(map(str, _COARSE_SINCE))} "
                f"or more, got {found[0]}.{found[1]}, which would only imitate it"
            )


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision while the context lasts; TF32's switches are the process's and are put back afterwards.

    Raises
    ------
    UsageError
        An unknown precision, or one that the device lacks.
    """
    check_precision(precision, device)
    put_back = _switch_tf32(precision == "tf32")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        put_back()


@contextmanager
def kernels_measured(wanted: bool = True) -> Iterator[None]:
    """Let cuDNN measure which kernel is fastest, once for every shape, in the `with` block; or let it guess."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _switch_tf32(on: bool) -> Callable[[], None]:
    """Set TF32's switches; return what puts them back.

    PyTorch has two sets of them. Once any code has used the newer one (`fp32_precision`), the older one cannot be read.
    """
    convolution, product = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        before: tuple[Any, ...] = (convolution.allow_tf32, product.allow_tf32)
        owners, name, value = (convolution, product), "allow_tf32", on
    except RuntimeError:
        owners, name, value = (convolution.conv, product), "fp32_precision", "tf32" if on else "ieee"  # type: ignore
        before = tuple(getattr(owner, name) for owner in owners)

    def set_to(values: Iterable[Any]) -> None:
        for owner, each in zip(owners, values, strict=True):
            setattr(owner, name, each)

    set_to((value, value))
    return lambda: set_to(before)


class PreciseNet(nn.Module):
    """A net that predicts in one precision; it takes and returns float32, and gives no gradients.

    It runs channels-last where that is known to be the layout of the fast kernels: on a CPU, and on a GPU for the
    matrix units of TF32 and bf16. In float32 a GPU keeps PyTorch's own layout.

    Parameters
    ----------
    net : CaffeNet
        On its device. Its parameters are shared, and laid out so from here on.
    precision : {"float32", "tf32", "bf16"}

    Attributes
    ----------
    net : CaffeNet
    precision : str
    """

    def __init__(self, net: CaffeNet, precision: Precision = "float32") -> None:
        super().__init__()
        self.net = net
        self.precision: Precision = precision
        check_precision(precision, self.device)
        self._lays_out = precision != "float32" or self.device.type != "cuda"
        if self._lays_out:
            for parameter in net.parameters():
                parameter.data = _channels_last(parameter.data)

    @property
    def device(self) -> torch.device:
        """Where the net runs."""
        first = next(self.net.parameters(), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def spec(self) -> NetSpec:
        """The net's layers, inputs and outputs."""
        return self.net.spec

    @property
    def blob_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every blob for the inputs of the last call."""
        return self.net.blob_shapes

    def forward(self, inputs: Mapping[str, Blob] | Blob, blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Run the net; `inputs` and `blobs` as of `CaffeNet.forward`, results float32 and contiguous."""
        table = self.net.take_inputs(inputs)
        with _TURN, torch.inference_mode():
            if self._lays_out:
                table = {name: _channels_last(tensor) for name, tensor in table.items()}
            return self._compute(table, blobs)

    def _compute(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> dict[str, Tensor]:
        with arithmetic(self.precision, self.device):
            results = self.net(inputs, blobs)
        return {name: tensor.float().contiguous() for name, tensor in results.items()}


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
