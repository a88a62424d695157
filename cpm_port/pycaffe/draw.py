"""caffe.draw: a net as a graph of layers and blobs, in Graphviz's language.

`graph_text` gives the text and needs nothing. Pictures need Graphviz's `dot` on the path, `get_pydot_graph` pydot.

*Source*: BVLC/caffe@9b89154 python/caffe/draw.py: names and arguments. Differs: the look is ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpm_port.caffe import MessageView
from cpm_port.caffe.upgrade import upgrade_net
from cpm_port.errors import MissingDependencyError
from cpm_port.files.atomic import atomic_path

__all__ = ["draw_net", "draw_net_to_file", "get_pydot_graph", "graph_text"]

_TEXT_SUFFIXES = (".dot", ".gv", ".raw")
_BLOB, _LAYER, _IN_PLACE = "#f0e6c8", "#a9c4eb", "#b9dfb4"


def graph_text(caffe_net: Any, rankdir: str = "LR", label_edges: bool = True, phase: int | None = None) -> str:
    """Return a NetParameter's graph as Graphviz text.

    Parameters
    ----------
    caffe_net : NetParameter
        Of any generation; it need not be whole: nothing is checked.
    rankdir : {"LR", "TB", "BT"}
        Where the graph grows to.
    label_edges : bool
        Write the number of channels that a layer makes on its edges.
    phase : int, optional
        `caffe.TRAIN` or `caffe.TEST`: draw that phase's layers alone; None draws those of both.
    """
    layers = [MessageView(layer) for layer in upgrade_net(caffe_net)[0].layer if _has_phase(layer, phase)]
    lines = [f"digraph {_quoted(caffe_net.name or 'net')} {{", f"  rankdir={rankdir};", "  node [style=filled];"]
    for name in dict.fromkeys(blob for layer in layers for blob in (*layer.bottom, *layer.top)):
        lines.append(f'  {_quoted("blob " + name)} [label={_quoted(name)}, shape=octagon, fillcolor="{_BLOB}"];')
    for number, layer in enumerate(layers):
        lines += _layer_lines(f"layer {number}", layer, rankdir, label_edges)
    return "\n".join([*lines, "}", ""])


def _has_phase(layer: Any, phase: int | None) -> bool:
    """Tell whether a LayerParameter's rules let a phase have it; level and stages count for nothing here."""
    if phase is None:
        return True
    included, excluded = (
        any(not rule.HasField("phase") or rule.phase == phase for rule in rules)
        for rules in (layer.include, layer.exclude)
    )
    return included if layer.include else not excluded


def _layer_label(layer: MessageView, rankdir: str) -> str:
    """Return what stands in a layer's node: name and type, and the window of a convolution or pooling."""
    apart = " " if rankdir in ("TB", "BT") else "\n"
    words = [layer.name, f"({layer.type})"]
    for field in ("convolution_param", "pooling_param"):
        if layer.has(field):
            param = getattr(layer, field)
            for name, shown in (("kernel_size", "kernel size"), ("stride", "stride"), ("pad", "pad")):
                if param.has(name):
                    value = getattr(param, name)
                    words.append(f"{shown}: {'x'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return apart.join(words)


def draw_net(
    caffe_net: Any, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """Return a NetParameter's picture, in any format of Graphviz's.

    Raises
    ------
    MissingDependencyError
        Graphviz is not installed.
    NotImplementedError
        `display_lrm`, Caffe's note of rates in the nodes.
    """
    if display_lrm:
        raise NotImplementedError("draw_net: display_lrm (rates in the nodes) is not here; see `cpm-port inspect`")
    dot = shutil.which("dot")
    if dot is None:
        raise MissingDependencyError("draw_net: no `dot` on the path; install Graphviz, or write a .dot file")
    text = graph_text(caffe_net, rankdir, phase=phase)
    return subprocess.run([dot, f"-T{ext}"], input=text.encode(), capture_output=True, check=True).stdout


def draw_net_to_file(
    caffe_net: Any,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write a NetParameter's picture in the format that the suffix names; `.dot`, `.gv` and `.raw` are text.

    Raises
    ------
    MissingDependencyError
        The format is a picture, and Graphviz is not installed.
    """
    suffix = Path(filename).suffix.lower()
    if suffix in _TEXT_SUFFIXES:
        content = graph_text(caffe_net, rankdir, phase=phase).encode()
    else:
        content = draw_net(caffe_net, rankdir, suffix.lstrip("."), phase, display_lrm)
    with atomic_path(Path(filename)) as temporary:
        temporary.write_bytes(content)


def get_pydot_graph(
    caffe_net: Any, rankdir: str, label_edges: bool = True, phase: int | None = None, display_lrm: bool = False
) -> Any:
    """Return a NetParameter's graph as pydot has it.

    Raises
    ------
    MissingDependencyError
        pydot is not installed.
    """
    try:
        import pydot  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingDependencyError("get_pydot_graph: pydot is not installed; graph_text gives the text") from None
    (graph,) = pydot.graph_from_dot_data(graph_text(caffe_net, rankdir, label_edges, phase))
    return graph


def _layer_lines(node: str, layer: MessageView, rankdir: str, label_edges: bool) -> Iterator[str]:
    in_place = bool(layer.top) and layer.top == layer.bottom
    fill = _IN_PLACE if in_place else _LAYER
    yield f'  {_quoted(node)} [label={_quoted(_layer_label(layer, rankdir))}, shape=box, fillcolor="{fill}"];'
    for blob in layer.bottom:
        yield f"  {_quoted('blob ' + blob)} -> {_quoted(node)};"
    channels = ""
    if label_edges:
        for field in ("convolution_param", "inner_product_param"):
            if layer.has(field):
                channels = f" [label={_quoted(str(getattr(layer, field).num_output))}]"
    for blob in layer.top:
        yield f"  {_quoted(node)} -> {_quoted('blob ' + blob)}{channels};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
