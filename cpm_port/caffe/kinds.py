"""What a file is that is not what was expected: told by its first bytes or its protobuf fields, in words for errors.

Where in the flow: beside the readers of `binary.py` and `files.py`, which ask before they give up. Nothing here decides
how a file is read.
"""

from __future__ import annotations

import codecs

from cpm_port.caffe import wire
from cpm_port.errors import CaffeFormatError

__all__ = ["HDF5_MAGIC", "foreign_kind", "looks_like_text", "message_kind"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PICKLE = "runs code when it is read; save its tensors as .safetensors"
_BY_START = (
    (HDF5_MAGIC, "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ\x00", "an xz file; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x80\x02", f"a Python pickle, which {_PICKLE}"),
    (b"\x80\x03", f"a Python pickle, which {_PICKLE}"),
    (b"\x80\x04", f"a Python pickle, which {_PICKLE}"),
    (b"\x80\x05", f"a Python pickle, which {_PICKLE}"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"MATLAB ", "a MATLAB .mat file"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; `git lfs pull` fetches it"),
    (b"\xff\xfe", "UTF-16 text, as PowerShell's > writes it; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def foreign_kind(data: wire.Buffer) -> str | None:
    """Return what a file is, by its first bytes, where they are no Caffe file's: "a gzip file; unpack it first"."""
    head = bytes(data[:1024])
    for start, kind in _BY_START:
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\x03\x04"):
        if b"data.pkl" in head:
            return f"a PyTorch file, a zip archive of a Python pickle, which {_PICKLE}"
        return "a NumPy .npz file" if b".npy" in head else "a zip archive; unpack it first"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        return "an HTML or XML page; the download failed, or needs a browser"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(data):
        return "a safetensors file, which `load_net` and `cpm-port convert` read where its name ends in .safetensors"
    return None


def looks_like_text(data: wire.Buffer) -> bool:
    """Tell whether a file's first bytes are text: no control characters but white space, and UTF-8 or mostly ASCII."""
    head = bytes(data[:1024])
    if any(byte < 0x20 and byte not in b"\t\n\f\r" for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end within a character
    except UnicodeDecodeError:
        readable = sum(0x20 <= byte < 0x7F or byte in b"\t\n\r" for byte in head)
        return 2 * readable > len(head)
    return bool(head)


def message_kind(data: wire.Buffer, source: str) -> str | None:
    """Return which of Caffe's messages the fields of binary data are those of, in words; None where of none.

    A solver state and a mean number their fields as a net does, with other types.
    """
    try:
        found = {(number, wire_type) for number, wire_type, *_ in wire.top_fields(data, source)}
    except CaffeFormatError:
        return None
    if (1, 0) in found and not found & {(2, 0), (100, 2)} and found & {(2, 2), (3, 2)}:
        return "a solver state"
    if found & {(5, 2), (5, 5), (8, 2)} and ((7, 2) in found or {(1, 0), (2, 0), (3, 0), (4, 0)} <= found):
        return "a mean, or a single blob"
    if found & {(100, 2), (2, 2)} and (1, 0) not in found:
        return "a net (a .caffemodel)"
    return None
