"""The two names of every weight: the readable module's state dict and Caffe's layers.

Both forms keep a convolution's weights as (outputs, inputs, height, width) and its bias as (outputs,), so the
conversion only renames: `from_caffe(to_caffe(state, net), net)` gives back the same arrays, bit for bit. In Caffe's old
files a bias is (1, 1, 1, outputs); it is accepted and flattened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.caffe.shapes import fits_blob
from cpm_port.errors import WeightsError
from cpm_port.models.architectures import Architecture
from cpm_port.models.cpm import build

__all__ = ["caffe_names", "from_caffe", "to_caffe"]

_WRAPPERS = {
    "module.": "`.module` of DistributedDataParallel, DataParallel and AveragedModel",
    "_orig_mod.": "`._orig_mod` of what torch.compile returned",
}
_REFINEMENTS = {False: 4, True: 6}  # hidden convolutions of a later stage, by whether there is a VGG front


def caffe_names(net: Architecture) -> dict[str, str]:
    """Return module path -> Caffe layer name for every convolution, in the order of Caffe's file.

    Examples
    --------
    >>> from cpm_port.models import architecture, caffe_names
    >>> list(caffe_names(architecture("mpi")).items())[0]
    ('first_trunk.conv1', 'conv1_stage1')
    """
    if net.residual:
        with torch.device("meta"):
            paths = [name.removesuffix(".weight") for name in build(net).state_dict() if name.endswith(".weight")]
        return {path: path.replace(".", "_") for path in paths}
    names: dict[str, str] = {}
    if net.front:
        names |= {f"front.{step.name}": step.name for step in net.front if step is not None}
        hidden, beliefs = net.classifier_names
        names |= {"first_classifier.conv1": hidden, "first_classifier.beliefs": beliefs}
    else:
        names |= {f"first_trunk.conv{i}": f"conv{i}_stage1" for i in (1, 2, 3)}
        names |= {"first_context.conv": "conv4_stage1"}
        names |= {"first_classifier.conv1": "conv5_stage1", "first_classifier.conv2": "conv6_stage1"}
        names |= {"first_classifier.beliefs": "conv7_stage1"}
    count = _REFINEMENTS[bool(net.front)]
    for t in range(2, net.stages + 1):
        if not net.front:
            if t == 2:
                names |= {f"trunk.conv{i}": f"conv{i}_stage2" for i in (1, 2, 3)}
            names[f"contexts.stage{t}.conv"] = "conv4_stage2" if t == 2 else f"conv1_stage{t}"
        names |= {f"classifiers.stage{t}.conv{i}": f"Mconv{i}_stage{t}" for i in range(1, count + 1)}
        names[f"classifiers.stage{t}.beliefs"] = f"Mconv{count + 1}_stage{t}"
    return names


def to_caffe(state: Mapping[str, Tensor], net: Architecture) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """Return a state dict's arrays under Caffe's layer names, in float32: layer -> (weights, bias).

    Raises
    ------
    WeightsError
        The state dict is not one of this architecture; the message lists every difference.

    Examples
    --------
    >>> from cpm_port.models import architecture, build, to_caffe
    >>> net = architecture("mpi", stages=2, width=4, box=(64, 64))
    >>> blobs = to_caffe(build(net).state_dict(), net)
    >>> [blob.shape for blob in blobs["conv1_stage1"]]
    [(4, 3, 9, 9), (4,)]
    """
    shapes = _expected(net)
    wrapper = next((wrapper for wrapper in _WRAPPERS if any(wrapper + key in state for key in shapes)), None)
    if wrapper is not None:
        raise WeightsError(
            f"state dict: its names begin with {wrapper!r}, expected {next(iter(shapes))!r} and so on; give the state "
            f"dict of the net inside ({_WRAPPERS[wrapper]})"
        )
    _check({key: tuple(value.shape) for key, value in state.items()}, shapes, "state dict")
    return {
        layer: tuple(
            np.ascontiguousarray(state[f"{path}.{kind}"].detach().cpu().float().numpy()) for kind in ("weight", "bias")
        )
        for path, layer in caffe_names(net).items()
    }


def from_caffe(blobs: Mapping[str, Sequence[NDArray[np.float32]]], net: Architecture) -> dict[str, Tensor]:
    """Return the state dict of `build(net)` from Caffe's blobs; layers without blobs are passed over.

    Raises
    ------
    WeightsError
        Layers are missing, unknown, or of another shape; the message lists every difference.

    Examples
    --------
    >>> from cpm_port.models import architecture, build, from_caffe, to_caffe
    >>> net = architecture("mpi", stages=2, width=4, box=(64, 64))
    >>> module = build(net)
    >>> back = from_caffe(to_caffe(module.state_dict(), net), net)
    >>> all((back[name] == value).all() for name, value in module.state_dict().items())
    True
    """
    renamed = {f"{layer}[{i}]": f"{path}.{kind}" for path, layer in caffe_names(net).items() for i, kind in _KINDS}
    shapes = _expected(net)
    expected = {key: shapes[path] for key, path in renamed.items()}
    found: dict[str, NDArray[np.float32]] = {}
    for layer, arrays in blobs.items():
        for index, array in enumerate(arrays):
            key = f"{layer}[{index}]"
            fits = key in expected and fits_blob(array.shape, expected[key])
            found[key] = array.reshape(expected[key]) if fits else np.asarray(array)
    _check({key: tuple(value.shape) for key, value in found.items()}, expected, "Caffe weights")
    return {path: torch.from_numpy(np.array(found[key], dtype=np.float32)) for key, path in renamed.items()}


_KINDS = ((0, "weight"), (1, "bias"))


def _expected(net: Architecture) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build(net).state_dict().items()}


def _check(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    problems = [f"{key}: missing, expected {shape}" for key, shape in expected.items() if key not in found]
    problems += [f"{key}: not in this architecture" for key in found if key not in expected]
    problems += [
        f"{key}: is {found[key]}, expected {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if problems:
        raise WeightsError(f"{what}: {len(problems)} differences from the architecture:\n  " + "\n  ".join(problems))
