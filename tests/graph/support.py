"""What the graph tests share: the error metric, and the reference runs' recipe for weights and inputs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from cpm_port.graph import CaffeNet

REAL_CAFFE = 1e-5  # float32 sums in another order (the tolerance of tests/golden/caffe/*/provenance.json)


def relative_error(found: Tensor | None, expected: np.ndarray) -> float:
    """Return the largest difference over the expected array's largest magnitude; shapes and NaNs must be the same.

    A gradient that is None counts as zeros: Caffe writes zeros where nothing flows.
    """
    array = np.zeros_like(expected) if found is None else found.detach().cpu().numpy()
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    assert np.array_equal(np.isnan(array), np.isnan(expected)), "NaNs at other places"
    there = ~np.isnan(expected)
    if not there.any():
        return 0.0
    scale = np.abs(expected[there]).max() or 1.0
    return float(np.abs(array[there].astype(np.float64) - expected[there]).max() / scale)


def recipe_weights(net: CaffeNet, seed: int) -> dict[str, list[np.ndarray]]:
    """Return the weights of the reference runs (tests/golden/caffe/nets/provenance.json)."""
    draw = np.random.RandomState(seed)
    weights = {}
    for layer, (weight, bias) in net.params.items():
        fan_in = np.prod(weight.shape[1:])
        drawn = draw.standard_normal(tuple(weight.shape)) * np.sqrt(2 / fan_in), draw.standard_normal(len(bias)) * 0.1
        weights[layer] = [array.astype(np.float32) for array in drawn]
    return weights


def recipe_input(height: int, width: int, seed: int) -> np.ndarray:
    """Return the input of the reference runs: noise in place of an image, and a center map; shape (1, 4, H, W)."""
    image = (np.random.RandomState(seed).randint(0, 256, (3, height, width)) - 128) / 256
    y, x = np.mgrid[:height, :width]
    center = np.exp(-((x - width // 2) ** 2 + (y - height // 2) ** 2) / (2 * 21**2))
    return np.concatenate([image, center[None]])[None].astype(np.float32)
