"""Convolutional Pose Machines from Caffe to PyTorch: read the files, run the nets, test, score and retrain.

The two names that most users need, imported on first use so that the package's other rooms stay light:

- `load_net(prototxt, weights)`: a Caffe net as an `nn.Module`.
- `CaffeNet`: the class of what it returns.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpm_port.graph import CaffeNet, load_net

__all__ = ["CaffeNet", "__version__", "load_net"]

try:
    __version__ = version("cpm_port")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name in ("CaffeNet", "load_net"):
        from cpm_port import graph

        return getattr(graph, name)
    raise AttributeError(f"module 'cpm_port' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is imported on first use too, so that `help` and completion show it."""
    return sorted({*globals(), *__all__})
