"""A zoo of small nets for the tests: the official names and rules, on nets of a few kilobytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import infer_shapes, parse_net, read_net, write_weights
from cpm_port.caffe.shapes import param_shapes
from cpm_port.models import architecture, deploy_text
from cpm_port.zoo import ENTRIES, ModelEntry

NETS = {
    "mpii-lsp-6s": "mpi", "mpii-6s": "mpi", "lsp-6s": "leeds", "flic-4s": "flic", "mpii-vgg": "mpi-vgg",
    "person": "person",
}  # fmt: skip


def small_zoo(folder: Path) -> dict[str, ModelEntry]:
    """Return the official entries and the default one on nets of two stages and 2 channels, written into `folder`."""
    entries = {}
    for name, design in NETS.items():
        path = folder / f"{design}_deploy.prototxt"
        path.write_text(deploy_text(architecture(design, stages=2, width=2, box=(64, 64))))
        entries[name] = replace(ENTRIES[name], net=path, box=(64, 64), urls=())
    path = folder / "default" / "deploy.prototxt"
    path.parent.mkdir()
    path.write_text(deploy_text(architecture("mpi", stages=2, width=3, box=(64, 64))))
    entries["default"] = replace(ENTRIES["default"], net=path, box=(64, 64), center_sigma=5.0)
    return entries


def use_zoo(monkeypatch: pytest.MonkeyPatch, entries: Mapping[str, ModelEntry], models: Path) -> None:
    """Let the package see these entries, and a folder of installed models of the test's own."""
    for name, entry in entries.items():
        monkeypatch.setitem(ENTRIES, name, entry)
    monkeypatch.setenv("CPM_PORT_MODELS", str(models))


def random_blobs(net: Path, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Return weights for every layer of a net that has any."""
    draw = np.random.default_rng(seed)
    spec = read_net(net)
    shapes = infer_shapes(spec)
    blobs = {layer.name: param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms]) for layer in spec.layers}
    return {
        name: [draw.normal(0, 0.1, shape).astype(np.float32) for shape in wanted]
        for name, wanted in blobs.items()
        if wanted
    }


def write_model(path: Path, net: Path, seed: int = 0) -> Path:
    """Write a model of a net with random weights; the suffix says in which form."""
    write_weights(path, random_blobs(net, seed), parse_net(net.read_text()))
    return path
