"""pycaffe's face: code that was written against `import caffe` runs on this package, once its import is changed.

    import cpm_port.pycaffe as caffe

    net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
    net.blobs["data"].data[...] = image
    maps = net.forward()["Mconv7_stage6"]

For code that cannot be changed, `cpm_port.pycaffe.install()` puts it under the name `caffe` first, its parts
(`caffe.io`, `caffe.proto.caffe_pb2`, ...) included.

FILES, NETS, TRAINING -> **pycaffe**; nothing of the package but its bench uses it. What works, what differs and what
to change stands in docs/pycaffe.md. What is not there raises NotImplementedError with its name and the reason.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NoReturn

from cpm_port.graph import supported_types
from cpm_port.pycaffe import classifier, coord_map, detector, draw, io, net_spec, proto
from cpm_port.pycaffe.blobs import Blob, BlobVec
from cpm_port.pycaffe.classifier import Classifier
from cpm_port.pycaffe.detector import Detector
from cpm_port.pycaffe.modes import (
    init_log,
    log,
    set_device,
    set_logging_disabled,
    set_mode_cpu,
    set_mode_gpu,
    set_random_seed,
)
from cpm_port.pycaffe.net import TEST, TRAIN, Net
from cpm_port.pycaffe.net_spec import NetSpec, layers, params, to_proto
from cpm_port.pycaffe.proto.caffe_pb2 import LayerParameter
from cpm_port.pycaffe.python_layer import Layer, allow_python_layers, register_python_layer
from cpm_port.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Classifier",
    "Detector",
    "Layer",
    "LayerParameter",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "Timer",
    "allow_python_layers",
    "coord_map",
    "draw",
    "get_solver",
    "get_solver_from_file",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "proto",
    "register_python_layer",
    "set_device",
    "set_logging_disabled",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]

__version__ = "1.0.0"
"""The version of Caffe whose Python interface this is."""

get_solver_from_file = get_solver
pycaffe = _caffe = sys.modules[__name__]
"""Caffe's module of C++ classes and the one that extends them: here all of it is in one place."""
_PARTS = {"io": io, "proto": proto, "proto.caffe_pb2": proto.caffe_pb2, "net_spec": net_spec, "coord_map": coord_map,
          "draw": draw, "classifier": classifier, "detector": detector, "pycaffe": pycaffe,
          "_caffe": _caffe}  # fmt: skip


def install(*, allow_python_layers: bool = False) -> None:
    """Put this package under the name `caffe`, for `import caffe`, `from caffe import layers as L` and the like.

    Parameters
    ----------
    allow_python_layers : bool
        Let nets import the modules that their Python layers name, for the whole process.

    Raises
    ------
    ImportError
        Another package was imported as `caffe` already.
    """
    here = sys.modules[__name__]
    if sys.modules.get("caffe", here) is not here:
        raise ImportError("another package is imported as caffe already; call install() before it")
    sys.modules["caffe"] = here
    for name, part in _PARTS.items():
        sys.modules[f"caffe.{name}"] = part
    if allow_python_layers:
        globals()["allow_python_layers"](True)


def layer_type_list() -> list[str]:
    """Return the layer types that a net may hold, sorted."""
    return list(supported_types())


class Timer:
    """Caffe's stop watch: `start()`, `stop()`, then `ms`, `us` or `seconds`."""

    def __init__(self) -> None:
        self._began = self._took = 0.0

    def start(self) -> None:
        """Begin."""
        self._began = time.perf_counter()

    def stop(self) -> None:
        """End."""
        self._took = time.perf_counter() - self._began

    @property
    def seconds(self) -> float:
        """Time between the two."""
        return self._took

    @property
    def ms(self) -> float:
        """The same in milliseconds."""
        return 1e3 * self._took

    @property
    def us(self) -> float:
        """The same in microseconds."""
        return 1e6 * self._took


# One process trains: Caffe's calls for several say so.


def has_nccl() -> bool:
    """Return False."""
    return False


def solver_count() -> int:
    """Return 1."""
    return 1


def solver_rank() -> int:
    """Return 0."""
    return 0


def set_solver_count(count: int) -> None:
    """Take 1; anything else is not here."""
    if count != 1:
        raise NotImplementedError(f"caffe.set_solver_count({count}): {_SEVERAL}")


def set_solver_rank(rank: int) -> None:
    """Take 0; anything else is not here."""
    if rank != 0:
        raise NotImplementedError(f"caffe.set_solver_rank({rank}): {_SEVERAL}")


def set_multiprocess(several: bool) -> None:
    """Take False; anything else is not here."""
    if several:
        raise NotImplementedError(f"caffe.set_multiprocess(True): {_SEVERAL}")


_SEVERAL = "training in several processes is `cpm-port train` under torchrun, not pycaffe's"
_ABSENT = {
    "NCCL": _SEVERAL,
    "create_layer": "a layer outside a net is not here; write a net of one layer",
    "check_mode_cpu": "an extension of some forks; nets say nothing of their mode",
    "check_mode_gpu": "an extension of some forks; nets say nothing of their mode",
    "get_device": "an extension of some forks; nets say nothing of their mode",
}


def _absent(name: str) -> NoReturn:
    raise NotImplementedError(f"caffe.{name}: {_ABSENT[name]}")


def __getattr__(name: str) -> Any:
    if name in _ABSENT:
        return lambda *_args, **_kwargs: _absent(name)
    raise AttributeError(f"module 'caffe' (cpm_port.pycaffe) has no attribute {name!r}")
