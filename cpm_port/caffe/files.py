"""Caffe's files in and out, one function per kind: nets, weights, means, solver states. The form is told by content,
not by suffix.

`read_weights` gives arrays by layer name whatever the form was (.caffemodel of any generation, .caffemodel.h5);
`write_weights` writes the form that the suffix asks for. Arrays from binary files are read-only views of the file, not
copies (and may be unaligned in memory); they are float32, or float64 where the file holds doubles. Values are not
judged here: NaN and infinity read like any others.

The HDF5 room is imported by the calls that need it: h5py takes a tenth of a second, which most runs can save.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.caffe import binary, dialects, wire
from cpm_port.caffe.kinds import HDF5_MAGIC, foreign_kind, looks_like_text
from cpm_port.caffe.netspec import parse_net, snapshot_message, spec_of
from cpm_port.caffe.schema import Message, message_class
from cpm_port.caffe.spec import NetSpec
from cpm_port.caffe.text import format_text
from cpm_port.caffe.upgrade import upgrade_net
from cpm_port.errors import CaffeFormatError, UsageError, WeightsError
from cpm_port.files.atomic import atomic_path

__all__ = [
    "SolverState",
    "Weights",
    "format_prototxt",
    "is_prototxt",
    "read_mean",
    "read_net",
    "read_solverstate",
    "read_text",
    "read_weights",
    "write_mean",
    "write_prototxt",
    "write_solverstate",
    "write_weights",
]

_MAX_TEXT = 16 << 20
_HDF5_SUFFIXES = (".h5", ".hdf5")
_OTHER_SUFFIXES = (".safetensors", ".onnx", ".pth", ".pt")  # whose readers would find another kind of file under it


class Weights(Mapping[str, tuple[np.ndarray, ...]]):
    """The weights of a file: layer name -> its arrays, for the layers that have any, in file order.

    Attributes
    ----------
    types : dict of str to str
        Type of every layer of the file, with or without arrays; empty for HDF5, which stores none.
    source : str
        The file.
    dialect, generation : str
        As of `NetSpec`; "bvlc" and "HDF5" for HDF5.
    message : NetParameter or None
        The net inside the file, upgraded to V2, without arrays; None for HDF5. Do not change it.
    notes : tuple of str
        What a reader should know: layer names that occur twice (the last one counts, as in Caffe), upgrades.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.caffe import Weights
    >>> weights = Weights({"conv1": (np.zeros((8, 3, 9, 9)), np.zeros(8))}, source="made here")
    >>> [array.shape for array in weights["conv1"]]
    [(8, 3, 9, 9), (8,)]
    """

    def __init__(
        self,
        arrays: Mapping[str, tuple[np.ndarray, ...]],
        *,
        source: str,
        types: Mapping[str, str] | None = None,
        dialect: str = "bvlc",
        generation: str = "HDF5",
        message: Any = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._arrays = dict(arrays)
        self.types = dict(types or {})
        self.source = source
        self.dialect = dialect
        self.generation = generation
        self.message = message
        self.notes = tuple(notes)

    def __getitem__(self, layer: str) -> tuple[np.ndarray, ...]:
        return self._arrays[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"<Weights of {len(self)} layers from {self.source} ({self.generation}, {self.dialect})>"


@dataclass(frozen=True)
class SolverState:
    """What a solver needs to go on: iteration, the weights' file, position in stepvalue, and its history arrays.

    `history` is Caffe's: one array per learnable parameter, or two in a row of that many for solvers with two
    (AdaDelta, Adam).

    Examples
    --------
    >>> from cpm_port.caffe import SolverState
    >>> SolverState(iter=1000, learned_net="net_iter_1000.caffemodel").current_step
    0
    """

    iter: int
    learned_net: str = ""
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file (a prototxt).

    Raises
    ------
    MissingFileError, CaffeFormatError
        Where it is absent; where it is empty, binary or too large.
    """
    name = os.fspath(path)
    with binary.map_file(path) as data:
        kind = foreign_kind(data)
        if kind is not None or not looks_like_text(data):
            raise CaffeFormatError(f"{name}: this is {kind or 'a binary file'}; expected protobuf text (a prototxt)")
        if len(data) > _MAX_TEXT:
            raise CaffeFormatError(f"{name}: {len(data)} bytes of text; expected at most {_MAX_TEXT}")
        raw = bytes(data)
    return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def read_net(
    path: str | os.PathLike[str],
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: str | None = None,
) -> NetSpec:
    """Read a net from a prototxt, or the one inside a .caffemodel.

    The net inside a .caffemodel has been filtered when it was written, so its rules are not applied again; blobs that
    none of its layers produces (its writer dropped the input fields) become inputs without a declared shape.

    Parameters
    ----------
    path : path-like
        Text or binary, told apart by content.
    phase : {"TEST", "TRAIN"}
    level : int
        The net state's level, for `min_level` and `max_level`.
    stages : sequence of str
        Stages to add to those of the file's own `state`.
    dialect : {"bvlc", "cpm", "cpm2015"}, optional
        Overrides what the content says.

    Raises
    ------
    MissingFileError, CaffeFormatError, LayerError
        For a file that is absent, no net, or a net whose layers contradict each other.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net, read_net, write_prototxt
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> write_prototxt("net.prototxt", net)
    >>> len(read_net("net.prototxt").layers) == len(net.layers)
    True
    """
    source = os.fspath(path)
    if is_prototxt(path):
        text = read_text(path)
        return parse_net(text, source=source, phase=phase, level=level, stages=stages, dialect=dialect)
    try:
        message = binary.read_model(path, dialect=dialect).message
    except CaffeFormatError as error:
        raise CaffeFormatError(f"{error} (the file is no text: expected a prototxt or a .caffemodel)") from None
    notes = tuple(dialects.unknown_binary_fields(message, "the net"))
    return spec_of(message, source=source, phase=phase, level=level, stages=stages, notes=notes, is_snapshot=True)


def is_prototxt(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file that should hold a net is text, and not a stored model.

    Raises
    ------
    MissingFileError, CaffeFormatError
        It is absent; it is of a kind that never holds a net.
    """
    source = os.fspath(path)
    with binary.map_file(path) as data:
        is_text = looks_like_text(data)
        kind = foreign_kind(data)
    if kind is not None:
        raise CaffeFormatError(f"{source}: this is {kind}; expected a prototxt or a .caffemodel")
    return is_text


def read_weights(path: str | os.PathLike[str], *, dialect: str | None = None) -> Weights:
    """Read the weights of a .caffemodel (V0, V1, V2) or an HDF5 weights file.

    Arrays of a .caffemodel are views of the mapped file, which must not be shortened in place while they are used;
    replacing it, as all writers of this package do, is safe.

    Parameters
    ----------
    path : path-like
    dialect : {"bvlc", "cpm", "cpm2015"}, optional
        Overrides what the content says.

    Raises
    ------
    MissingFileError, CaffeFormatError
        Where the file is absent; where it is text, corrupt, or a blob's values do not fill its shape.

    Examples
    --------
    >>> from cpm_port.caffe import read_weights
    >>> from cpm_port.zoo import resolve
    >>> all(len(arrays) >= 1 for arrays in read_weights(resolve().weights).values())
    True
    """
    source = os.fspath(path)
    with binary.map_file(path) as data:
        is_hdf5 = data[:8] == HDF5_MAGIC
    if is_hdf5:
        from cpm_port.caffe import hdf5

        return Weights(hdf5.read_weight_groups(path), source=source)
    model = binary.read_model(path, dialect=dialect)
    try:
        net, notes = upgrade_net(model.message)
        names = [_layer_name(layer, model.generation) for layer in binary.layers_of(model.message)]
        types = {layer.name: layer.type for layer in net.layer}
    except CaffeFormatError as error:
        raise CaffeFormatError(f"{source}: {error}") from None
    notes += model.notes
    arrays: dict[str, tuple[np.ndarray, ...]] = {}
    for name, blobs in zip(names, model.blobs, strict=True):
        if blobs:
            if name in arrays:
                notes.append(f"layer name {name!r} occurs more than once; the last one counts")
            arrays[name] = tuple(blob.array for blob in blobs)
    return Weights(
        arrays, source=source, types=types, dialect=model.dialect, generation=model.generation, message=net, notes=notes
    )


def _layer_name(layer: Any, generation: str) -> str:
    return str(layer.layer.name if generation == "V0" else layer.name)


def write_weights(path: str | os.PathLike[str], blobs: Mapping[str, Sequence[np.ndarray]], net: NetSpec) -> None:
    """Write weights as Caffe's snapshot does.

    Parameters
    ----------
    path : path-like
        The suffix chooses: `.h5` is HDF5, anything else a binary .caffemodel with the net's layers in it; suffixes of
        other kinds of model file are refused.
    blobs : mapping of str to sequence of ndarray
        Layer name -> arrays; float64 stays double, all else becomes float32.
    net : NetSpec
        The layers to write (as filtered), each with its arrays; layers that `blobs` lacks have none.

    Raises
    ------
    UsageError
        Where the suffix is that of another kind of file.
    WeightsError
        Where `blobs` names layers that the net does not have.
    ShapeError
        For arrays that Caffe cannot hold.

    Examples
    --------
    >>> from cpm_port.zoo import resolve
    >>> from cpm_port.caffe import read_net, read_weights, write_weights
    >>> model = resolve()
    >>> blobs = read_weights(model.weights)
    >>> write_weights("copy.caffemodel", blobs, read_net(model.net))
    >>> list(read_weights("copy.caffemodel")) == list(blobs)
    True
    """
    suffix = Path(path).suffix.lower()
    if suffix in _OTHER_SUFFIXES:
        raise UsageError(
            f"{os.fspath(path)}: suffix {suffix} is not Caffe's, expected .caffemodel or .h5; `cpm-port convert` makes "
            ".safetensors and .onnx of these"
        )
    unknown = [name for name in blobs if name not in {layer.name for layer in net.layers}]
    if unknown:
        raise WeightsError(f"{os.fspath(path)}: the net {net.source} has no layers {', '.join(map(repr, unknown))}")
    if suffix in _HDF5_SUFFIXES:
        from cpm_port.caffe import hdf5

        hdf5.write_weight_groups(path, {layer.name: blobs.get(layer.name, ()) for layer in net.layers})
        return
    stored = tuple(
        tuple(binary.new_blob(array, net.dialect) for array in blobs.get(layer.name, ())) for layer in net.layers
    )
    binary.CaffeModel(snapshot_message(net), stored, os.fspath(path), net.dialect, "V2").save(path)


def format_prototxt(net: NetSpec | Message) -> str:
    """Return a net (or any of our messages) as protobuf text; a NetSpec in its upgraded, unfiltered form.

    Examples
    --------
    >>> from cpm_port.caffe import format_prototxt, parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> parse_net(format_prototxt(net)).outputs == net.outputs
    True
    """
    return format_text(net.message if isinstance(net, NetSpec) else net)


def write_prototxt(path: str | os.PathLike[str], net: NetSpec | Message) -> None:
    """Write `format_prototxt(net)` to a file.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net, read_net, write_prototxt
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> write_prototxt("net.prototxt", net)
    >>> read_net("net.prototxt").outputs
    ('Mconv5_stage2',)
    """
    with atomic_path(path) as temporary:
        temporary.write_text(format_prototxt(net), encoding="utf-8")


def read_solverstate(path: str | os.PathLike[str]) -> SolverState:
    """Read a .solverstate or .solverstate.h5.

    Raises
    ------
    MissingFileError, CaffeFormatError

    Examples
    --------
    >>> from cpm_port.caffe import SolverState, read_solverstate, write_solverstate
    >>> write_solverstate("net.solverstate.h5", SolverState(iter=7))
    >>> read_solverstate("net.solverstate.h5").iter
    7
    """
    source = os.fspath(path)
    with binary.map_file(path) as data:
        if data[:8] == HDF5_MAGIC:
            from cpm_port.caffe import hdf5

            return SolverState(*hdf5.read_state(path))
    parts = binary.split_file(path, wire.SOLVER_STATE, "a solver state")
    message = binary.parse("SolverState", "bvlc", parts.small, source)
    blobs = binary.parse_blobs(message.history, parts.values, f"{source}: history")
    if not message.HasField("iter"):
        raise CaffeFormatError(f"{source}: names no iteration; expected a solver state")
    return SolverState(message.iter, message.learned_net, message.current_step, [blob.array for blob in blobs])


def write_solverstate(path: str | os.PathLike[str], state: SolverState) -> None:
    """Write a solver state: HDF5 for a suffix `.h5`, else binary.

    Examples
    --------
    >>> from cpm_port.caffe import SolverState, read_solverstate, write_solverstate
    >>> write_solverstate("net.solverstate", SolverState(iter=1000))
    >>> read_solverstate("net.solverstate").iter
    1000
    """
    if Path(path).suffix.lower() in _HDF5_SUFFIXES:
        from cpm_port.caffe import hdf5

        hdf5.write_state(path, state.iter, state.learned_net, state.current_step, state.history)
        return
    message = message_class("SolverState")(
        iter=state.iter, learned_net=state.learned_net, current_step=state.current_step
    )
    binary.write_blobs(path, message, 3, [binary.new_blob(array, "bvlc") for array in state.history])


def read_mean(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a .binaryproto mean image.

    Returns
    -------
    ndarray, read only
        In the shape that the file says; Caffe writes (1, C, H, W), BGR.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.caffe import read_mean, write_mean
    >>> write_mean("mean.binaryproto", np.full((3, 1, 1), 104, np.float32))
    >>> float(read_mean("mean.binaryproto").max())
    104.0
    """
    source = os.fspath(path)
    parts = binary.split_file(path, wire.BLOB, "a mean, or a single blob")
    message = binary.parse("BlobProto", "bvlc", parts.small, source)
    return binary.parse_blobs([message], parts.values, source)[0].array


def write_mean(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a mean image as a .binaryproto, with the legacy four dimensions that every Caffe reads.

    Raises
    ------
    UsageError
        For an array that is not (C, H, W) or (1, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.caffe import read_mean, write_mean
    >>> write_mean("mean.binaryproto", np.ones((3, 4, 4), np.float32))
    >>> read_mean("mean.binaryproto").shape
    (1, 3, 4, 4)
    """
    array = np.asarray(array)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[0] != 1:
        raise UsageError(f"a mean of shape {array.shape}: expected (C, H, W) or (1, C, H, W)")
    message = message_class("BlobProto")(num=1, channels=array.shape[1], height=array.shape[2], width=array.shape[3])
    blob = binary.StoredBlob(message, array.astype(np.float32, copy=False))
    binary.write_pieces(path, binary.blob_pieces(blob))
