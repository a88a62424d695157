"""Starting from the weights of another net: layers matched by name, and a report of what was matched, left or ignored.

Caffe refuses a layer of the same name and another shape; so does this, unless misfits are to be skipped: then such
layers keep their fillers, as layers do that the file lacks. That is how a net for other parts starts from a trained
one.
"""

from __future__ import annotations

import os

from cpm_port.errors import WeightsError
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
        Leave layers of other shapes as they are, instead of refusing the file.

    Raises
    ------
    WeightsError
        Shapes that do not fit, where they are not skipped.
    """
    try:
        report = net.load_weights(path, strict=False, skip_misfits=skip_misfits)
    except WeightsError as error:
        raise WeightsError(f"{error}\n(to start such layers anew: --skip-misfits, skip_misfits in Python)") from error
    lines = [f"Weights {os.fspath(path)}: {len(report.matched)} layers matched"]
    if report.ignored:
        lines.append(f"  ignored, as the net lacks them: {', '.join(report.ignored)}")
    if report.missing:
        lines.append(f"  left as they were, as the file lacks them: {', '.join(report.missing)}")
    if report.misfits:
        lines.append("  left as they were, as they differ:")
        lines += [f"    {line}" for line in report.misfits]
    return "\n".join(lines)
