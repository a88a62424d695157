"""Starting from the weights of another net: layers matched by name, and a report of what was matched, left or ignored.

Caffe refuses a layer of the same name and another shape; so does this, unless misfits are to be skipped: then such
layers keep their fillers, as layers do that the file lacks. That is how a net for other parts starts from a trained
one.
"""

from __future__ import annotations

import os
from pathlib import Path

from cpm_port.caffe import read_weights
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet

__all__ = ["start_from"]


def start_from(net: CaffeNet, path: str | os.PathLike[str], *, skip_misfits: bool = False) -> str:
    """Give a net the weights that a file has for it; return the report, lines of text.

    Parameters
    ----------
    net : CaffeNet
    path : path-like
        .caffemodel, .caffemodel.h5 or .safetensors.
    skip_misfits : bool
        Leave layers of other shapes as they are, instead of refusing the file; not for .safetensors.

    Raises
    ------
    UsageError
        Misfits are to be skipped in a .safetensors file.
    WeightsError
        Shapes that do not fit, where they are not skipped.
    """
    misfits: dict[str, str] = {}
    if not skip_misfits:
        report = net.load_weights(path, strict=False)
    elif Path(path).suffix == ".safetensors":
        raise UsageError(f"{os.fspath(path)}: skipping layers that do not fit needs a Caffe file, not .safetensors")
    else:
        weights = read_weights(path)
        for layer, blobs in net.params.items():
            mine, theirs = ([tuple(blob.shape) for blob in some] for some in (blobs, weights.get(layer, blobs)))
            if mine != theirs:
                misfits[layer] = f"{layer} ({theirs[0] if theirs else 'nothing'} in the file, {mine[0]} here)"
        report = net.load_weights({name: weights[name] for name in weights if name not in misfits}, strict=False)
    kept = [name for name in report.missing if name not in misfits]
    lines = [f"Weights {os.fspath(path)}: {len(report.matched)} layers matched"]
    if report.ignored:
        lines.append(f"  ignored, as the net lacks them: {', '.join(report.ignored)}")
    if kept:
        lines.append(f"  left as they were, as the file lacks them: {', '.join(kept)}")
    if misfits:
        lines.append(f"  left as they were, as their shapes differ: {', '.join(misfits.values())}")
    return "\n".join(lines)
