"""NetSpec: nets written in Python, as in pycaffe.

    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(shape=[dict(dim=[8, 1, 28, 28]), dict(dim=[8])], ntop=2)
    n.conv = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.relu = L.ReLU(n.conv, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu, n.label)
    print(n.to_proto())

`L.Type(*bottoms, **fields)` gives a top, or a tuple of `ntop` of them; with `ntop=0` the layer itself. A field that the
type's own message has goes there, any other one to the LayerParameter; dicts are messages, lists are repeated fields,
and `P.Pooling.MAX` is an enum's value. Tops without a name are named after their type: `Convolution1`.

*Source*: BVLC/caffe@9b89154 python/caffe/net_spec.py: names, their order, and where a field goes. Differs: the message
is of the CPM authors' fork where a layer's fields are the fork's; a field that no message has is a `LayerError` that
names it; Deconvolution and Im2col take their fields directly, too.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cpm_port.caffe import message_class
from cpm_port.caffe.text import is_repeated
from cpm_port.errors import LayerError, UsageError

__all__ = [
    "Function",
    "Layers",
    "NetSpec",
    "Parameters",
    "Top",
    "assign_proto",
    "layers",
    "param_name_dict",
    "params",
    "to_proto",
]

_DIALECTS = ("bvlc", "cpm")
_BORROWED = {"Deconvolution": "convolution_param", "Im2col": "convolution_param"}
_SUFFIX = "_param"


@cache
def _message_fields(dialect: str) -> dict[str, str]:
    """Return the name in a layer type's message -> the field of that message: `Pooling` -> `pooling_param`."""
    fields = message_class("LayerParameter", dialect).DESCRIPTOR.fields
    return {
        field.message_type.name.removesuffix("Parameter"): field.name
        for field in fields
        if field.name.endswith(_SUFFIX)
    }


def param_name_dict() -> dict[str, str]:
    """Return layer type -> the stem of its field, of both dialects: `{"Pooling": "pooling", ...}`."""
    return {
        name: field.removesuffix(_SUFFIX) for dialect in reversed(_DIALECTS)
        for name, field in _message_fields(dialect).items()
    }  # fmt: skip


class Top:
    """One output of a layer that is not a message yet.

    Attributes
    ----------
    fn : Function
        The layer.
    n : int
        Which of its outputs.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """Return the NetParameter of everything that the top needs."""
        return to_proto(self)


class Function:
    """A layer that is not a message yet.

    Attributes
    ----------
    type_name : str
    inputs : tuple of Top
    params : dict
        Fields, as they were given.
    ntop : int
    in_place : bool
    tops : tuple of Top

    Raises
    ------
    TypeError
        An input is no Top.
    """

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        for index, given in enumerate(inputs):
            if not isinstance(given, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(given)})")
        self.type_name = type_name
        self.inputs: tuple[Top, ...] = inputs
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def to_proto(self) -> Any:
        """Return the NetParameter of the layer and everything that it needs."""
        return to_proto(self)


class NetSpec:
    """Named tops, in the order in which they were set: `spec.conv1 = L.Convolution(...)`, `spec["conv1"]`."""

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Any:
        return self.tops[item]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __delitem__(self, key: str) -> None:
        del self.tops[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tops)

    def update(self, tops: Mapping[str, Any]) -> None:
        """Set several tops."""
        self.tops.update(tops)

    def to_proto(self) -> Any:
        """Return the NetParameter of the named tops and everything that they need."""
        return _Writer({top: name for name, top in self.tops.items()}).net(self.tops.values())


class Layers:
    """`L`: `L.Convolution(...)` is a layer of type Convolution, whatever the type is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer(*bottoms: Any, **fields: Any) -> Any:
            """Return the layer's top, its tops, or (with `ntop=0`) the layer."""
            made = Function(name, bottoms, fields)
            return made if made.ntop == 0 else made.tops[0] if made.ntop == 1 else made.tops

        return layer


class Parameters:
    """`P`: `P.Pooling.MAX` is the value of an enum in PoolingParameter."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for dialect in _DIALECTS:
            try:
                return message_class(f"{name}Parameter", dialect)
            except UsageError:
                continue
        raise NotImplementedError(
            f"params.{name}: Caffe's schema has no message {name}Parameter, nor has the CPM fork's"
        )


def to_proto(*tops: Any) -> Any:
    """Return the NetParameter of tops and everything that they need, all names made from the layers' types."""
    return _Writer({}).net(tops)


def assign_proto(proto: Any, name: str, val: Any) -> None:
    """Set a message's field: a dict is a message, a list a repeated field; one value of a repeated field needs no list.

    Raises
    ------
    LayerError
        The message has no such field, or the field cannot have that value.
    """
    _assign(proto, name, val, proto.DESCRIPTOR.name)


class _Writer:
    """Makes the messages of a net's layers, each after those that it reads.

    Parameters
    ----------
    names : mapping of Top or Function to str
        What has a name already.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self._names: dict[Any, str] = dict(names)
        self._counts: Counter[str] = Counter()
        self._drafts: OrderedDict[Function, tuple[str, list[str], list[str]]] = OrderedDict()

    def net(self, tops: Any) -> Any:
        """Return the net that makes all these tops."""
        for top in tops:
            self._draft(top if isinstance(top, Function) else top.fn)
        errors = []
        for dialect in _DIALECTS:
            try:
                net = message_class("NetParameter", dialect)()
                for function, (name, bottoms, made) in self._drafts.items():
                    _write_layer(net.layer.add(), function, name, bottoms, made, dialect)
                return net
            except _UnknownFieldError as error:
                errors.append(error)
        raise LayerError(str(errors[0]))

    def _draft(self, function: Function) -> list[str]:
        """Settle a layer's name and tops; return the names of its tops."""
        if function not in self._drafts:
            bottoms = [self._draft(top.fn)[top.n] for top in function.inputs]
            made = bottoms if function.in_place else [self._name(top) for top in function.tops]
            first = function.tops[0] if function.ntop else function
            self._drafts[function] = (self._name(first), bottoms, made)
        return self._drafts[function][2]

    def _name(self, item: Any) -> str:
        if item not in self._names:
            kind = item.type_name if isinstance(item, Function) else item.fn.type_name
            self._counts[kind] += 1
            self._names[item] = f"{kind}{self._counts[kind]}"
        return self._names[item]


class _UnknownFieldError(LayerError):
    """No such field in this dialect."""


def _write_layer(layer: Any, function: Function, name: str, bottoms: list[str], tops: list[str], dialect: str) -> None:
    layer.name, layer.type = name, function.type_name
    layer.bottom.extend(bottoms)
    layer.top.extend(tops)
    own = _message_fields(dialect).get(function.type_name) or _BORROWED.get(function.type_name)
    own_fields = layer.DESCRIPTOR.fields_by_name[own].message_type.fields_by_name if own else {}
    where = f"layer {name!r} ({function.type_name})"
    for key, value in function.params.items():
        if own and key in own_fields and not key.endswith("param"):
            _assign(getattr(layer, own), key, value, where)
        else:
            _assign(layer, key, value, where)


def _assign(message: Any, key: str, value: Any, where: str) -> None:
    """Set a field: dicts are messages, lists repeated ones; one value of a repeated field needs no list."""
    field = message.DESCRIPTOR.fields_by_name.get(key)
    if field is None:
        raise _UnknownFieldError(f"{where}: {message.DESCRIPTOR.name} has no field {key!r}")
    where = f"{where}: {key}"
    if not is_repeated(field):
        if field.message_type is None:
            _checked(lambda: setattr(message, key, value), where, value)
            return
        if not isinstance(value, Mapping):
            raise LayerError(f"{where} is {value!r}; expected a dict of a {field.message_type.name}'s fields")
        getattr(message, key).SetInParent()
        for name, item in value.items():
            _assign(getattr(message, key), name, item, where)
        return
    for one in value if isinstance(value, list | tuple) else [value]:
        if field.message_type is None:
            _checked(lambda one=one: getattr(message, key).append(one), where, one)
            continue
        added = getattr(message, key).add()
        for name, item in one.items():
            _assign(added, name, item, where)


def _checked(write: Any, where: str, value: Any) -> None:
    try:
        write()
    except (TypeError, ValueError) as error:
        raise LayerError(f"{where} cannot be {value!r}: {error}") from None


layers = Layers()
params = Parameters()
