"""Models to other formats: `convert` reads a file and writes another, as their suffixes say; `onnx.py` writes ONNX.

The formats themselves are in `cpm_port.formats`; ONNX stands here, above `graph`, because writing it runs the net. The
folder `converters/` beside the package holds one short script per direction.
"""

from __future__ import annotations

from cpm_port.export.convert import convert

__all__ = ["convert"]
