"""Fold normalization into the layers before it: a net with BatchNorm becomes one without that computes the same.

NET + ARRAYS -> NET + ARRAYS, for deployment. A BatchNorm that uses its stored statistics multiplies and shifts each
channel, and so does the Scale behind it; both can be done by the weights of the Convolution, Deconvolution or
InnerProduct before them:

    weight' = weight g / sqrt(variance + eps)        bias' = (bias - mean) g / sqrt(variance + eps) + shift

A BatchNorm stays where this would change another blob: where somebody else reads what the layer before it gives, or
where no such layer is before it. So does a Scale that no folded BatchNorm precedes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec, NetSpec, snapshot_message, spec_of
from cpm_port.caffe.layer_types.elementwise import has_scale_and_bias
from cpm_port.errors import WeightsError

__all__ = ["fold_batch_norm"]

_MESSAGES = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}
Arrays = Mapping[str, Sequence[NDArray[Any]]]


def fold_batch_norm(net: NetSpec, blobs: Arrays) -> tuple[NetSpec, dict[str, tuple[NDArray[Any], ...]]]:
    """Return the net without the normalization that its weights can do, and its arrays.

    Parameters
    ----------
    net : NetSpec
        A train net too: its BatchNorms are folded as they compute in phase TEST.
    blobs : mapping of str to sequence of ndarray
        Layer name -> arrays, for every layer of the net that has any. They stay as they are.

    Returns
    -------
    net : NetSpec
        Layers that were folded away are gone; those that took them in have a bias.
    blobs : dict of str to tuple of ndarray
        float32.

    Raises
    ------
    WeightsError
        The arrays of a layer that would be folded are missing or have other shapes than it needs, or there are arrays
        of layers that the net does not have: its deploy net, say, from which the BatchNorms are gone already.
    """
    strangers = sorted(blobs.keys() - {layer.name for layer in net.layers})
    if strangers:
        raise WeightsError(
            f"{net.source}: expected the net that the weights were trained in, which has the layers of all arrays; it "
            f"lacks {len(strangers)}: {', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}"
        )
    kept = {name: tuple(arrays) for name, arrays in blobs.items()}
    gone: set[int] = set()
    tops: dict[int, str] = {}
    for index, layer in enumerate(net.layers):
        if layer.type not in _MESSAGES or len(layer.tops) != 1:
            continue
        norm = _only_reader(net.layers, index)
        if norm is None or net.layers[norm].type != "BatchNorm" or not _is_upstreams(net.layers[norm]):
            continue
        scale = _only_reader(net.layers, norm)
        if scale is not None and not _scales_channels(net.layers[scale]):
            scale = None
        parts = [net.layers[i] for i in (norm, scale) if i is not None]
        kept[layer.name] = _folded(net, kept, layer, parts)
        gone |= {norm} | ({scale} if scale is not None else set())
        tops[index] = parts[-1].tops[0]
        for part in parts:
            kept.pop(part.name, None)
    message = snapshot_message(net)
    for index, top in tops.items():
        message.layer[index].top[:] = [top]
        getattr(message.layer[index], _MESSAGES[net.layers[index].type]).ClearField("bias_term")
    for index in sorted(gone, reverse=True):
        del message.layer[index]
    folded = spec_of(message, source=net.source, phase=net.phase, is_snapshot=True)
    return folded, kept


def _only_reader(layers: Sequence[LayerSpec], index: int) -> int | None:
    """Return which layer alone reads the single top of another, None where several do or none does."""
    (top,) = layers[index].tops
    readers = []
    for later in range(index + 1, len(layers)):
        if top in layers[later].bottoms:
            readers.append(later)
        if top in layers[later].tops:
            break
    only = readers[0] if len(readers) == 1 else None
    return only if only is not None and layers[only].bottoms == (top,) and len(layers[only].tops) == 1 else None


def _is_upstreams(norm: LayerSpec) -> bool:
    """Whether no fork's field changes what a BatchNorm layer computes."""
    param = norm.params.batch_norm_param
    return bool(param.add_eps_before_sqrt) and not has_scale_and_bias(param)


def _scales_channels(layer: LayerSpec) -> bool:
    fields = layer.params.scale_param
    return layer.type == "Scale" and len(layer.bottoms) == 1 and fields.axis in (1, -3) and fields.num_axes == 1


def _folded(net: NetSpec, blobs: Arrays, layer: LayerSpec, parts: Sequence[LayerSpec]) -> tuple[NDArray[Any], ...]:
    """Return a layer's weight and bias with a BatchNorm, and perhaps a Scale, taken in; in double precision inside."""
    fields = getattr(layer.params, _MESSAGES[layer.type])
    weight, *rest = _arrays(net, blobs, layer, 2 if fields.bias_term else 1)
    outputs = fields.num_output
    bias = rest[0].reshape(-1) if rest else np.zeros(outputs)
    norm, *scales = parts
    sums = _arrays(net, blobs, norm, 3)
    factor = float(sums[2].reshape(-1)[0])
    mean, variance = (total.reshape(-1) * (0 if factor == 0 else 1 / factor) for total in sums[:2])
    gain, shift = 1 / np.sqrt(variance + norm.params.batch_norm_param.eps), np.zeros(1)
    for scale in scales:
        has_bias = scale.params.scale_param.bias_term
        gamma, *beta = (array.reshape(-1) for array in _arrays(net, blobs, scale, 2 if has_bias else 1))
        gain, shift = gain * gamma, beta[0] if beta else shift
    if gain.shape != (outputs,) or mean.shape != (outputs,) or bias.shape != (outputs,):
        raise WeightsError(
            f"{net.source}: layer {layer.name!r} has {outputs} outputs; bias {bias.shape}, normalization {gain.shape}"
        )
    if layer.type == "Deconvolution":  # (channels, outputs / group, *kernel): the outputs of a group stand side by side
        group = fields.group
        by_group = weight.reshape(group, weight.shape[0] // group, outputs // group, *weight.shape[2:])
        gains = gain.reshape(group, 1, -1, *(1,) * (weight.ndim - 2))
        weight = (by_group * gains).reshape(weight.shape)
    elif layer.type == "InnerProduct" and fields.transpose:
        weight = weight * gain
    else:
        weight = weight * gain.reshape(-1, *(1,) * (weight.ndim - 1))
    return weight.astype(np.float32), ((bias - mean) * gain + shift).astype(np.float32)


def _arrays(net: NetSpec, blobs: Arrays, layer: LayerSpec, count: int) -> list[NDArray[np.float64]]:
    found = blobs.get(layer.name, ())
    if len(found) != count:
        raise WeightsError(f"{net.source}: layer {layer.name!r}: expected {count} arrays to fold, got {len(found)}")
    return [np.asarray(array, np.float64) for array in found]
