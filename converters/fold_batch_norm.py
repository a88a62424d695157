"""Fold BatchNorm and Scale layers into the convolutions before them: the same outputs, fewer layers.

Usage: python converters/fold_batch_norm.py NET.prototxt WEIGHTS.caffemodel OUT.prototxt OUT.caffemodel

NET.prototxt is the deploy net, or the train net of a model that `cpm-port prototxt --arch residual` wrote: the weights
then fit its deploy net. Works on any Caffe net; layers that cannot be folded stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port.caffe import read_net, read_weights, write_prototxt, write_weights
from cpm_port.cli._script import run_script
from cpm_port.formats.folding import fold_batch_norm


def fold(prototxt: Path, weights: Path, out_prototxt: Path, out_weights: Path) -> list[str]:
    """Read net and weights, fold, write both."""
    net = read_net(prototxt)
    folded, blobs = fold_batch_norm(net, read_weights(weights))
    write_weights(out_weights, blobs, folded)
    write_prototxt(out_prototxt, folded)
    gone = len(net.layers) - len(folded.layers)
    return [f"{out_prototxt}: {gone} of {len(net.layers)} layers folded", f"{out_weights}: {len(blobs)} layers"]


if __name__ == "__main__":
    sys.exit(run_script(fold, __doc__))
