"""What a pose net shows to the outside: its input, and the belief maps of every stage, found in any net's layers.

Where in the flow: after a net's layers and shapes are known, whoever runs, trains, measures or describes it asks here.
No torch.

Conventions: stages count from 1; a belief map is a blob of four axes, (batch, parts + background, h, w).

How stages are found, in this order:

1. A net that is taught says it itself: each Euclidean loss looks at one stage's maps, first to last.
2. A blob with `stage<s>` in its name, of the same shape as the net's output, belongs to stage s; of several, the last.
   (What a pooling gives is none: features may happen to have as many channels.)
   The first stage may have another name (the VGG net's is `conv5_2_CPM`): then it is the last convolution of that
   shape before the second stage's.
3. A net that names no stage has one, its output, if that is a convolution without a nonlinearity.

Source: the reference notes (`release_testing.md`) section 2, step 4: the release's demo takes, for every stage s, the
last blob whose name contains `stage<s>`. Knowingly different: `stage1` is not found in `stage10`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cpm_port.caffe import LayerSpec, NetSpec
from cpm_port.caffe.shapes import Shape
from cpm_port.errors import LayerError, UsageError

__all__ = ["belief_maps", "cpm_data_layer", "image_input"]


def image_input(net: NetSpec) -> tuple[str, Shape]:
    """Return name and shape of a deploy net's one input.

    Raises
    ------
    UsageError
        Not one input; or not a square, even-sized one of 3 (colour) or 4 channels (colour and center map).
    """
    if len(net.inputs) != 1:
        raise UsageError(f"{net.source}: inputs are {', '.join(net.inputs) or 'none'}; prediction needs one")
    name, shape = next(iter(net.inputs.items()))
    if len(shape) != 4 or shape[1] not in (3, 4) or shape[2] != shape[3] or shape[2] % 2:
        raise UsageError(
            f"{net.source}: input {name!r} is {tuple(shape)}; prediction needs (1, 3 or 4, b, b) with an even box size "
            "b"
        )
    return name, tuple(shape)


def cpm_data_layer(net: NetSpec) -> LayerSpec:
    """Return a train net's CPMData layer, whose two tops are boxes and label maps.

    Raises
    ------
    LayerError
        The net has no such layer, or several.
    """
    layers = [layer for layer in net.layers if layer.type == "CPMData"]
    if len(layers) != 1:
        raise LayerError(f"{net.source}: {len(layers)} CPMData layers; validation needs the box of exactly one")
    return layers[0]


def belief_maps(net: NetSpec, shapes: Mapping[str, Shape]) -> dict[int, str]:
    """Return stage -> blob of its belief maps, first to last; nothing where the net is no pose net.

    Parameters
    ----------
    net : NetSpec
    shapes : mapping of str to shape
        Of the blobs; those that are not in it are left out.
    """
    made = {top for layer in net.layers if layer.bottoms for top in layer.tops}
    taught = [layer.bottoms[0] for layer in net.layers if layer.type == "EuclideanLoss"]
    if taught:
        return dict(enumerate((blob for blob in taught if blob in made and len(shapes.get(blob, ())) == 4), 1))
    if len(net.outputs) != 1 or len(shapes.get(net.outputs[0], ())) != 4:
        return {}
    output = net.outputs[0]
    found: dict[int, str] = {}
    first = None
    for layer in net.layers:
        for blob in layer.tops:
            if blob in shapes and shapes[blob][1:] == shapes[output][1:] and layer.type != "Pooling":
                found.update((int(number), blob) for number in re.findall(r"stage(\d+)", blob))
                if not found and layer.type == "Convolution":
                    first = blob
    if found and 1 not in found and first:
        found[1] = first
    makers = [layer.type for layer in net.layers if output in layer.tops]
    if not found and makers == ["Convolution"]:
        found[1] = output
    return {stage: found[stage] for stage in sorted(found)}
