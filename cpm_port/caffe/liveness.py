"""How long blobs live: when nothing needs a value any more, and how many bytes are alive at once.

Every part of the package that follows a net's blobs through its layers asks here: the forward pass (what to let go),
the engine's programs, the memory estimates, recomputation in training. A blob lives from the layer that makes it to the
last one that reads it; an in-place layer makes a new value beside the old one, as `CaffeNet.forward` does.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from cpm_port.caffe.spec import LayerSpec

__all__ = ["peak_size", "released"]

_V = TypeVar("_V", bound=Hashable)


def released(steps: Iterable[tuple[Iterable[_V], Iterable[_V]]], kept: Container[_V]) -> list[list[_V]]:
    """Return, for every step, the values that nothing needs after it.

    Parameters
    ----------
    steps : iterable of (reads, writes)
        What each step reads and makes, in the order of execution; a value that is made again counts as the same one.
    kept : container
        Values that are needed to the end.

    Examples
    --------
    >>> released([(["data"], ["a"]), (["a"], ["b"])], kept={"b"})
    [['data'], ['a']]
    """
    last: dict[_V, int] = {}
    count = 0
    for reads, writes in steps:
        last.update(dict.fromkeys((*reads, *writes), count))
        count += 1
    found: list[list[_V]] = [[] for _ in range(count)]
    for value, index in last.items():
        if value not in kept:
            found[index].append(value)
    return found


def peak_size(
    layers: Sequence[LayerSpec], sizes: Mapping[str, int], inputs: Iterable[str], kept: Container[str]
) -> int:
    """Return the largest sum of sizes alive at once in a forward pass that lets go what it can.

    Parameters
    ----------
    layers : sequence of LayerSpec
    sizes : mapping of str to int
        Of every blob, in any unit.
    inputs : iterable of str
        Blobs that the caller gives: alive from the start.
    kept : container of str
        Blobs that are needed to the end.
    """
    alive = set(inputs)
    peak = sum(sizes[name] for name in alive)
    for layer, gone in zip(layers, released([(layer.bottoms, layer.tops) for layer in layers], kept), strict=True):
        made = sum(sizes[top] for top in layer.tops if top not in alive or top in layer.bottoms)
        peak = max(peak, sum(sizes[name] for name in alive) + made)
        alive |= set(layer.tops)
        alive -= set(gone)
    return peak
