"""What these tests share: the golden files that real Caffe wrote, and messages written byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support import GOLDEN, shared_dir

LAYERS = GOLDEN / "caffe" / "layers"
SOLVER = GOLDEN / "caffe" / "solver"

LAYER_CASES = sorted(path.stem for path in LAYERS.glob("*.prototxt"))
CAFFEMODELS = sorted([*LAYERS.glob("*.caffemodel"), *SOLVER.glob("*.caffemodel")])
SOLVERSTATES = sorted(SOLVER.glob("*.solverstate"))
SOUND = ("caffe_files", "golden", "release")  # the reference material's folders of files that must read


def shared_files(pattern: str, without: str = "nothing") -> list[Any]:
    """Return the reference material's sound files, for parametrizing; where it is absent, one case that skips."""
    folder = shared_dir()
    if folder is None:
        reason = "the reference material (../shared or $CPM_PORT_SHARED) is not here"
        return [pytest.param(Path(pattern), marks=pytest.mark.skip(reason=reason))]
    found = (path for path in folder.glob(pattern) if path.relative_to(folder).parts[0] in SOUND)
    return sorted(path for path in found if without not in path.name)


def varint(value: int) -> bytes:
    """Encode a varint in the plainest way, apart from the code under test."""
    out = b""
    while True:
        low, value = value % 128, value // 128
        if value == 0:
            return out + bytes([low])
        out += bytes([low + 128])


def field(number: int, body: bytes) -> bytes:
    """Encode a length-delimited field."""
    return varint(number * 8 + 2) + varint(len(body)) + body


def number_field(number: int, value: int) -> bytes:
    """Encode a varint field."""
    return varint(number * 8) + varint(value)


def floats(values: list[float]) -> bytes:
    """Encode a packed `data` field of a BlobProto."""
    return field(5, struct.pack(f"<{len(values)}f", *values))


def dims(*shape: int) -> bytes:
    """Encode a `shape` field of a BlobProto."""
    return field(7, field(1, b"".join(varint(dim % 2**64) for dim in shape)))


def layer(name: str, kind: str, *parts: bytes) -> bytes:
    """Encode a V2 layer of a NetParameter."""
    return field(100, field(1, name.encode()) + field(2, kind.encode()) + b"".join(parts))


def model_with(blob: bytes) -> bytes:
    """Encode a net of one layer "ip" with one blob."""
    return field(1, b"net") + layer("ip", "InnerProduct", field(7, blob))
