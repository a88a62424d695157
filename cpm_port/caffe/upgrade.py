"""Old nets and solvers brought to today's form, as Caffe does on loading: V0 -> V1 -> V2, legacy data fields, inputs,
BatchNorm.

- V0: `layers { layer { type: "conv" ... } }`, padding as layers of its own, folded into the convolution or pooling that
follows.
- V1: `layers { type: CONVOLUTION blobs_lr: 1 ... }`, an enum for the type; a fork's `ROI_POOLING` is its ROIPooling.
- V2: `layer { type: "Convolution" param { lr_mult: 1 } ... }`.

An upgraded net upgrades to itself. *Source*: BVLC/caffe@9b89154 src/caffe/util/upgrade_proto.cpp.

It knowingly differs: a net that mixes `layer` and `layers`, or V0 and V1, is refused outright (Caffe logs an error and
goes on with a part of it). Inputs that a file names without any shape become an Input layer without shapes (Caffe drops
them).
"""

from __future__ import annotations

from typing import Any

from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.caffe.schema import UNKNOWN_TEXT, Message
from cpm_port.errors import CaffeFormatError

__all__ = ["V1_TYPES", "generation_of", "upgrade_net", "upgrade_solver"]

_V1_SPECIAL = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "EXP": "Exp",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_V1_PLAIN = (
    "ACCURACY", "CONCAT", "CONVOLUTION", "DATA", "DROPOUT", "EUCLIDEAN_LOSS", "FLATTEN", "IMAGE_DATA", "INFOGAIN_LOSS",
    "INNER_PRODUCT", "MULTINOMIAL_LOGISTIC_LOSS", "POOLING", "SIGMOID", "SOFTMAX", "SPLIT", "WINDOW_DATA", "ELTWISE",
    "POWER", "SIGMOID_CROSS_ENTROPY_LOSS", "HINGE_LOSS", "MEMORY_DATA", "THRESHOLD", "DUMMY_DATA", "SLICE", "SILENCE",
    "CONTRASTIVE_LOSS", "DECONVOLUTION",
)  # fmt: skip
V1_TYPES = {**{name: name.title().replace("_", "") for name in _V1_PLAIN}, **_V1_SPECIAL}

_V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

# V0 field -> {V0 type: "message.field" of V1}; the type "*" is any.
_WEIGHTED = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_SOURCES = {
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
}
_V0_FIELDS: dict[str, dict[str, str]] = {
    "num_output": {kind: f"{param}.num_output" for kind, param in _WEIGHTED.items()},
    "biasterm": {kind: f"{param}.bias_term" for kind, param in _WEIGHTED.items()},
    "weight_filler": {kind: f"{param}.weight_filler" for kind, param in _WEIGHTED.items()},
    "bias_filler": {kind: f"{param}.bias_filler" for kind, param in _WEIGHTED.items()},
    "pad": {"conv": "convolution_param.pad", "pool": "pooling_param.pad"},
    "kernelsize": {"conv": "convolution_param.kernel_size", "pool": "pooling_param.kernel_size"},
    "group": {"conv": "convolution_param.group"},
    "stride": {"conv": "convolution_param.stride", "pool": "pooling_param.stride"},
    "pool": {"pool": "pooling_param.pool"},
    "dropout_ratio": {"dropout": "dropout_param.dropout_ratio"},
    "local_size": {"lrn": "lrn_param.local_size"},
    "alpha": {"lrn": "lrn_param.alpha"},
    "beta": {"lrn": "lrn_param.beta"},
    "k": {"lrn": "lrn_param.k"},
    "source": {
        **{kind: f"{param}.source" for kind, param in _SOURCES.items()},
        "infogain_loss": "infogain_loss_param.source",
    },
    "scale": {"*": "transform_param.scale"},
    "meanfile": {"*": "transform_param.mean_file"},
    "batchsize": {kind: f"{param}.batch_size" for kind, param in _SOURCES.items()},
    "cropsize": {"*": "transform_param.crop_size"},
    "mirror": {"*": "transform_param.mirror"},
    "rand_skip": {"data": "data_param.rand_skip", "images": "image_data_param.rand_skip"},
    "shuffle_images": {"images": "image_data_param.shuffle"},
    "new_height": {"images": "image_data_param.new_height"},
    "new_width": {"images": "image_data_param.new_width"},
    "concat_dim": {"concat": "concat_param.concat_dim"},
    "det_fg_threshold": {"window_data": "window_data_param.fg_threshold"},
    "det_bg_threshold": {"window_data": "window_data_param.bg_threshold"},
    "det_fg_fraction": {"window_data": "window_data_param.fg_fraction"},
    "det_context_pad": {"window_data": "window_data_param.context_pad"},
    "det_crop_mode": {"window_data": "window_data_param.crop_mode"},
    "hdf5_output_param": {"hdf5_output": "hdf5_output_param"},
}
_V0_OWN = ("name", "type", "blobs", "blobs_lr", "weight_decay")
_V0_CONNECTION = ("layer", "bottom", "top", UNKNOWN_TEXT)  # what an entry that wraps a V0 layer itself says
_DATA_LAYERS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}


def generation_of(net: Any) -> str:
    """Return "V0", "V1" or "V2": how a NetParameter's layers are written.

    Raises
    ------
    CaffeFormatError
        For a net that mixes generations, which Caffe refuses as well.
    """
    v0 = sum(layer.HasField("layer") for layer in net.layers)
    if len(net.layers) and len(net.layer):
        raise CaffeFormatError(
            f"the net mixes {len(net.layers)} old 'layers' and {len(net.layer)} new 'layer' entries; expected one kind"
        )
    if v0 not in (0, len(net.layers)):
        raise CaffeFormatError(
            f"the net mixes V0 layers ({v0}) and V1 layers ({len(net.layers) - v0}); expected one kind"
        )
    return "V0" if v0 else "V1" if len(net.layers) else "V2"


def upgrade_net(net: Message) -> tuple[Any, list[str]]:
    """Upgrade a copy of a NetParameter of any generation to V2.

    Returns
    -------
    net : NetParameter
        The V2 form; equal to the argument where nothing was old.
    notes : list of str
        What was upgraded, for a human.

    Raises
    ------
    CaffeFormatError
        For mixed generations, unknown layer types, misplaced padding layers and wrong input counts.
    """
    out: Any = type(net)()
    out.CopyFrom(net)
    notes: list[str] = []
    generation = generation_of(out)
    if generation == "V0":
        out = _upgrade_v0(out, notes)
        notes.append("upgraded from V0 layers")
    if generation != "V2":
        if _move_data_fields(out):
            notes.append("moved data fields to transform_param")
        _upgrade_v1(out)
        notes.append("upgraded from V1 layers")
    if len(out.input):
        notes.append(_upgrade_inputs(out))
    if _freeze_batch_norm(out):
        notes.append("set lr_mult 0 on BatchNorm's three blobs")
    return out, notes


def upgrade_solver(solver: Message) -> tuple[Any, list[str]]:
    """Upgrade a copy of a SolverParameter: the `solver_type` enum becomes the string `type`.

    Raises
    ------
    CaffeFormatError
        Where both are given.
    """
    out: Any = type(solver)()
    out.CopyFrom(solver)
    if not out.HasField("solver_type"):
        return out, []
    if out.HasField("type"):
        raise CaffeFormatError("the solver gives both 'solver_type' (old) and 'type'; expected one")
    names = {
        "SGD": "SGD",
        "NESTEROV": "Nesterov",
        "ADAGRAD": "AdaGrad",
        "RMSPROP": "RMSProp",
        "ADADELTA": "AdaDelta",
        "ADAM": "Adam",
    }
    enum = out.DESCRIPTOR.fields_by_name["solver_type"].enum_type
    out.type = names[enum.values_by_number[out.solver_type].name]
    out.ClearField("solver_type")
    return out, ["upgraded the solver's type"]


def _upgrade_v0(net: Any, notes: list[str]) -> Any:
    """Return a V0 net as V1, its padding layers folded away."""
    folded = type(net)()
    folded.CopyFrom(net)
    del folded.layers[:]
    producer: dict[str, Any] = dict.fromkeys(net.input)
    for connection in net.layers:
        v0 = connection.layer
        kept = None
        if v0.type != "padding":
            kept = folded.layers.add()
            kept.CopyFrom(connection)
        for position, bottom in enumerate(connection.bottom):
            if bottom not in producer:
                raise CaffeFormatError(f"layer {v0.name!r}: unknown bottom blob {bottom!r}")
            source = producer[bottom]
            if source is None or source.layer.type != "padding" or kept is None:
                continue
            if (
                v0.type not in ("conv", "pool")
                or len(connection.bottom) != 1
                or len(source.bottom) != 1
                or len(source.top) != 1
            ):
                raise CaffeFormatError(
                    f"layer {v0.name!r} ({v0.type}) follows a padding layer; expected a conv or pool with one bottom"
                )
            kept.layer.pad = source.layer.pad
            kept.bottom[position] = source.bottom[0]
        for top in connection.top:
            producer[top] = connection
    for connection in folded.layers:
        _upgrade_v0_layer(connection, notes)
    return folded


def _upgrade_v0_layer(connection: Any, notes: list[str]) -> None:
    """Turn one V1 message that wraps a V0 layer into a V1 layer, in place."""
    v0 = type(connection.layer)()
    v0.CopyFrom(connection.layer)
    for descriptor, _ in connection.ListFields():
        if descriptor.name not in _V0_CONNECTION:
            notes.append(f"layer {v0.name!r}: dropped {descriptor.name!r} beside its V0 layer, as Caffe does")
            connection.ClearField(descriptor.name)
    connection.ClearField("layer")
    if v0.HasField("name"):
        connection.name = v0.name
    if v0.HasField("type"):
        if v0.type not in _V0_TYPES:
            raise CaffeFormatError(f"layer {v0.name!r}: unknown V0 layer type {v0.type!r}")
        enum = connection.DESCRIPTOR.fields_by_name["type"].enum_type
        connection.type = enum.values_by_name[_V0_TYPES[v0.type]].number
    for name in ("blobs", "blobs_lr", "weight_decay", UNKNOWN_TEXT):
        getattr(connection, name).extend(getattr(v0, name))
    for descriptor, value in v0.ListFields():
        if descriptor.name in _V0_OWN or descriptor.name == UNKNOWN_TEXT:
            continue
        places = _V0_FIELDS.get(descriptor.name, {})
        place = places.get(v0.type, places.get("*"))
        if place is None:
            notes.append(
                f"layer {v0.name!r}: dropped V0 field {descriptor.name!r}, which type {v0.type!r} does not have"
            )
            continue
        _assign(connection, place, value)


def _assign(layer: Any, place: str, value: Any) -> None:
    """Set `message.field` of a layer: messages are copied, repeated fields get one value."""
    param, _, name = place.partition(".")
    if not name:
        getattr(layer, param).CopyFrom(value)
        return
    message = getattr(layer, param)
    if isinstance(value, Message):
        getattr(message, name).CopyFrom(value)
    elif hasattr(getattr(message, name), "append"):
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def _move_data_fields(net: Any) -> bool:
    """Move scale, mean_file, crop_size and mirror of V1 data layers into transform_param; tell whether any was."""
    moved = False
    for layer in net.layers:
        param_name = _DATA_LAYERS.get(
            layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name
        )
        if param_name is None or not layer.HasField(param_name):
            continue
        param = getattr(layer, param_name)
        for name in ("scale", "mean_file", "crop_size", "mirror"):
            if param.HasField(name):
                setattr(layer.transform_param, name, getattr(param, name))
                param.ClearField(name)
                moved = True
    return moved


def _fork_type(word: str) -> str:
    """Return the fork's layer type that a word of a V1 text stands for, or the word where none does."""
    plain = word.replace("_", "")
    names = (name for name, entry in LAYER_TYPES.items() if entry.origin != "upstream")
    return next((name for name in names if name.upper() == plain), word)


def _upgrade_v1(net: Any) -> None:
    """Turn a net's `layers` into `layer`, in place."""
    for old in net.layers:
        new = net.layer.add()
        values = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
        if old.HasField("type"):
            type_name = values[old.type].name
            if type_name not in V1_TYPES:
                raise CaffeFormatError(f"layer {old.name!r}: unknown V1 layer type {type_name}")
            new.type = V1_TYPES[type_name]
        strange = [text for text in getattr(old, UNKNOWN_TEXT) if text.startswith("type: ")]
        if strange:  # a fork's; if it is none of those known, the code that builds the net refuses it, with all others
            new.type = _fork_type(strange[0].removeprefix("type: "))
        for descriptor, value in old.ListFields():
            name = descriptor.name
            if name in ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay"):
                continue
            if name == "name":
                new.name = value
            elif hasattr(value, "extend"):
                getattr(new, name).extend(item for item in value if item not in strange)
            else:
                getattr(new, name).CopyFrom(value)
        for source, target in (
            ("param", "name"),
            ("blob_share_mode", "share_mode"),
            ("blobs_lr", "lr_mult"),
            ("weight_decay", "decay_mult"),
        ):
            for position, value in enumerate(getattr(old, source)):
                while len(new.param) <= position:
                    new.param.add()
                setattr(new.param[position], target, value)
    net.ClearField("layers")


def _upgrade_inputs(net: Any) -> str:
    """Turn `input` with `input_shape` or `input_dim` into a first layer of type Input, in place; say what was done.

    Inputs without a shape go where layers have them as tops. It knowingly differs: Caffe drops all without a shape;
    here one that no layer gives stays an input, whose shape the caller may know.
    """
    if not len(net.input_shape) and not len(net.input_dim):
        tops = {top for layer in net.layer for top in layer.top if top not in layer.bottom}
        left = [name for name in net.input if name not in tops]
        if not left:
            net.ClearField("input")
            return "dropped the net's input fields, which have no shape: layers give these blobs"
        net.input[:] = left
    count = len(net.input)
    layer = type(net)().layer.add()
    layer.name, layer.type = "input", "Input"
    layer.top.extend(net.input)
    if len(net.input_shape):
        if len(net.input_shape) != count:
            raise CaffeFormatError(
                f"the net has {count} 'input' but {len(net.input_shape)} 'input_shape'; expected one each"
            )
        layer.input_param.shape.extend(net.input_shape)
    elif len(net.input_dim):
        if len(net.input_dim) != 4 * count:
            raise CaffeFormatError(
                f"the net has {count} 'input' but {len(net.input_dim)} 'input_dim'; expected four each"
            )
        for start in range(0, 4 * count, 4):
            layer.input_param.shape.add().dim.extend(net.input_dim[start : start + 4])
    others = list(net.layer)
    copies = [type(layer)() for _ in others]
    for copy, other in zip(copies, others, strict=True):
        copy.CopyFrom(other)
    del net.layer[:]
    net.layer.add().CopyFrom(layer)
    net.layer.extend(copies)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)
    return "turned the net's input fields into an Input layer"


def _freeze_batch_norm(net: Any) -> bool:
    """Give BatchNorm's three blobs lr_mult 0 where a file sets other rates; tell whether any did."""
    changed = False
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                if param.lr_mult != 0:
                    param.lr_mult = 0
                    changed = True
    return changed
