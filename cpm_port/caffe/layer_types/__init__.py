"""What is known of each layer type without running it: shapes, parameters, cost, what a value sees. No torch here.

A `LayerType` is the one entry of a type; `LAYER_TYPES` holds them by name. The files beside this one declare the types
of upstream Caffe and of widely used forks (a file per fork: `ssd.py`, `rcnn.py`), for all code that reads, sizes or
recognises files without torch; a fork's type brings its message along (`schema.declare_message`). What runs a type is
its module, in `cpm_port/graph/layers/`. A type that is declared nowhere here is declared by its module:
`cpm_port.graph.register` asks the module's methods, so that a new type is one file there.

Data flows in integers: a layer's fields and its bottoms' shapes go in, shapes and counts come out. `shapes.py` walks a
net with them.

*Source*: BVLC/caffe@9b89154 src/caffe/layers/*.cpp (LayerSetUp and Reshape of each layer).
"""

from __future__ import annotations

import importlib
import pkgutil

from cpm_port.caffe.layer_types.table import (
    LAYER_TYPES,
    POINTWISE,
    WHOLE,
    Field,
    Fields,
    LayerType,
    Shape,
    declare,
    is_source,
    origin_of,
)

__all__ = [
    "LAYER_TYPES",
    "POINTWISE",
    "WHOLE",
    "Field",
    "Fields",
    "LayerType",
    "Shape",
    "declare",
    "is_source",
    "origin_of",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
