"""Models in files: each format reads a file to one plain value and writes that value; without PyTorch.

FILE -> `StoredModel` (arrays by layer name, and the net where the file holds one) -> FILE. `format_of` chooses by
suffix: `.caffemodel`, `.h5` (also `.caffemodel.h5`), `.safetensors`. Arrays pass bit for bit. Pickled checkpoints
(`.pth`, `.pt`, ...) are refused: reading one runs code from it. ONNX, which needs a net that runs, is in
`cpm_port.export`.

To add a format, write a file with a `FORMAT` and list it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cpm_port.errors import UsageError
from cpm_port.formats import caffemodel, hdf5, safetensors
from cpm_port.formats.values import Format, StoredModel

__all__ = ["FORMATS", "Format", "StoredModel", "format_of"]

FORMATS = (caffemodel.FORMAT, hdf5.FORMAT, safetensors.FORMAT)
_PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin")


def format_of(path: Path, formats: Sequence[Format] = FORMATS) -> Format:
    """Return the one of `formats` that a path's suffix names.

    Raises
    ------
    UsageError
        A pickle's suffix, or one that none of them has.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.formats import format_of
    >>> format_of(Path("pose.caffemodel")).name
    'caffemodel'
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise UsageError(f"{path}: a {suffix} file is a Python pickle, which runs code when read; use .safetensors")
    for candidate in formats:
        if suffix in candidate.suffixes:
            return candidate
    known = ", ".join(suffix for candidate in formats for suffix in candidate.suffixes)
    raise UsageError(f"{path}: suffix {suffix!r} names no model format; expected one of {known}")
