"""`caffe_pb2`: Caffe's messages under the name that scripts import them by; for use with `google.protobuf.text_format`.

The classes are those of `cpm_port.caffe.schema`, of upstream's dialect; messages that only the CPM authors' fork has
(`CPMDataParameter`, `ROIPoolingParameter`) are the fork's. `message_class(name, "cpm")` gives any message as the fork
has it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from cpm_port.caffe import message_class
from cpm_port.caffe.schema import message_names

__all__ = ["DESCRIPTOR", "TEST", "TRAIN", "Phase", "message_class"]

DESCRIPTOR: Any = message_class("NetParameter").DESCRIPTOR.file
Phase: Any = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["Phase"])
TRAIN: int = Phase.Value("TRAIN")
TEST: int = Phase.Value("TEST")

for _dialect in ("cpm", "bvlc"):
    globals().update({name: message_class(name, _dialect) for name in message_names(_dialect)})


def __getattr__(name: str) -> Any:  # for type checkers, and for names that the schema lacks
    raise AttributeError(f"Caffe's schema has no message {name!r}")
