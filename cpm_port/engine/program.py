"""A Caffe net's layers as operations on values, with what belongs together joined: convolution, ReLU, max-pooling.

Blobs have names that in-place layers reuse; values are written once. `compile_program` follows the names through the
net, finds where a convolution's value is read by nothing but a ReLU, and that one's by nothing but a max-pooling, and
makes one operation of them. Values that the caller asked for stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from cpm_port.caffe.liveness import released
from cpm_port.engine.fft import Pool
from cpm_port.graph import CaffeNet
from cpm_port.graph.layers.convolution import Convolution
from cpm_port.graph.layers.pooling import Pooling
from cpm_port.graph.layers.relu import ReLU

__all__ = ["Operation", "Program", "compile_program", "is_plain_convolution"]


@dataclass
class Operation:
    """One or several layers that run as one.

    Attributes
    ----------
    key : str
        The key of the (first) layer's module in the net.
    reads, writes : tuple of int
        Values.
    detached : tuple of int
        Positions in `reads` that get no gradient.
    rectify : bool
        Whether a ReLU is part of it.
    pool : Pool
        The max-pooling that is part of it.
    frees : tuple of int
        Values that nothing needs afterwards.
    """

    key: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    detached: tuple[int, ...] = ()
    rectify: bool = False
    pool: Pool = field(default_factory=Pool)
    frees: tuple[int, ...] = ()


@dataclass(frozen=True)
class Program:
    """Operations in order; the values of the inputs and of the wanted blobs."""

    operations: tuple[Operation, ...]
    inputs: dict[str, int]
    results: dict[str, int]


def compile_program(net: CaffeNet, wanted: Sequence[str]) -> Program:
    """Return the operations that give the blobs `wanted`."""
    current = {name: value for value, name in enumerate(net.inputs)}
    inputs = dict(current)
    count = len(current)
    operations: list[Operation] = []
    for step in net.steps:
        reads = tuple(current[bottom] for bottom in step.spec.bottoms)
        writes = tuple(range(count, count + len(step.spec.tops)))
        count += len(writes)
        current.update(zip(step.spec.tops, writes, strict=True))
        operations.append(Operation(step.key, reads, writes, step.detached))
    results = {name: current[name] for name in wanted}
    joined = _join(operations, net, set(results.values()))
    gone = released([(operation.reads, operation.writes) for operation in joined], kept=set(results.values()))
    for operation, values in zip(joined, gone, strict=True):
        operation.frees = tuple(values)
    return Program(tuple(joined), inputs, results)


def is_plain_convolution(module: nn.Module) -> bool:
    """Tell whether the Fourier way covers a layer: a 2-D convolution of one map, stride 1, 'same', one group, K odd."""
    if type(module) is not Convolution or module.axis != 1 or module.spatial_axes != 2 or module.fields.group != 1:
        return False
    if len(module.spec.bottoms) != 1:
        return False
    kernel = module.blob(0).shape[2:]
    same = all(size == kernel[0] and size % 2 == 1 for size in kernel)
    ones = (*module.stride, *module.dilation)
    return same and all(value == 1 for value in ones) and all(pad == kernel[0] // 2 for pad in module.pad)


def _join(operations: list[Operation], net: CaffeNet, kept: set[int]) -> list[Operation]:
    """Let convolutions take in the ReLU and the pooling that alone read their values."""
    readers: dict[int, list[Operation]] = {}
    for operation in operations:
        for value in operation.reads:
            readers.setdefault(value, []).append(operation)
    absorbed: set[int] = set()

    def only_reader(operation: Operation) -> Operation | None:
        value = operation.writes[0]
        found = readers.get(value, [])
        alone = len(operation.writes) == 1 and value not in kept and len(found) == 1
        return found[0] if alone and not found[0].detached else None

    for operation in operations:
        if type(_module(net, operation)) is not Convolution or len(operation.reads) != 1:
            continue
        following = only_reader(operation)
        if following is not None and _is_rectifier(_module(net, following)):
            operation.rectify, operation.writes = True, following.writes
            absorbed.add(id(following))
            following = only_reader(operation)
        pool = None if following is None else _plain_pool(_module(net, following))
        if following is not None and pool is not None:
            operation.pool, operation.writes = pool, following.writes
            absorbed.add(id(following))
    return [operation for operation in operations if id(operation) not in absorbed]


def _is_rectifier(module: nn.Module) -> bool:
    return type(module) is ReLU and module.fields.negative_slope == 0


def _plain_pool(module: nn.Module) -> Pool | None:
    """Return a max-pooling's window where it is square, unpadded, rounds up and leaves no gaps; else None."""
    if type(module) is not Pooling or module.fields.pool != "MAX" or module.fields.global_pooling:
        return None
    window = module.window
    (kernel, width), (stride, step) = window.kernel, window.stride
    plain = kernel == width and stride == step <= kernel and not any(window.pad) and window.ceil
    return Pool(kernel, stride) if plain and len(module.spec.tops) == 1 else None


def _module(net: CaffeNet, operation: Operation) -> nn.Module:
    return net.get_submodule(operation.key)
