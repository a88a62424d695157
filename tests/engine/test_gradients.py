"""A Fourier convolution's gradients equal those of the direct one. Oracle: torch's conv2d and autograd in float64.

The promise is 1e-5 of each tensor's largest value; the float32 transforms keep within 1e-6 of it. A ReLU's kink is no
part of the claim: the oracle lets through what the found results let through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.compute.memory import Workspace
from cpm_port.engine import gradients
from cpm_port.engine.fft import NO_POOL, TILE_SIZES, Pool, compiled, tile_geometry
from cpm_port.engine.gradients import convolve, reference_gradients
from cpm_port.errors import ShapeError

TOLERANCE = 1e-6  # of the largest value: float32 sums of some thousand terms
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2,+f16c"}

CASES = [
    pytest.param((1, 16, 16, 20, 20, 3), id="one panel of 16"),
    pytest.param((2, 48, 32, 25, 46, 11), id="two images, an odd number of tiles"),
    pytest.param((1, 3, 64, 61, 40, 9), id="few channels"),
    pytest.param((3, 21, 48, 23, 37, 9), id="an odd number of channels that need padding"),
    pytest.param((1, 64, 96, 30, 31, 5), id="panels of 32"),
    pytest.param((2, 8, 15, 21, 23, 7), id="outputs that need padding"),
    pytest.param((1, 3, 8, 21, 23, 7), id="few of both"),
    pytest.param((1, 16, 16, 1, 7, 3), id="a single row"),
]


def make(count: int, channels: int, outputs: int, height: int, width: int, kernel: int) -> list[Tensor]:
    """Return an input, weights, a bias and a gradient to the result."""
    generator = torch.Generator().manual_seed(channels * 1000 + height)
    scale = (channels * kernel**2) ** -0.5
    shapes = (count, channels, height, width), (outputs, channels, kernel, kernel), (outputs,)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x, weight * scale, bias, torch.randn(count, outputs, height, width, generator=generator)]


def differentiate(given: list[Tensor], size: int, *, rectify: bool = True, nbytes: int = 128 << 20) -> list[Tensor]:
    """Return a Fourier convolution's result, and its gradients to input, weights and bias."""
    *leaves, gradient = given
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y = convolve(*leaves, size=size, rectify=rectify, workspace=Workspace(nbytes))
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient)]


def expect(given: list[Tensor], lets_through: Tensor, *, rectify: bool = True) -> list[Tensor]:
    """Return the same by direct sums in float64."""
    *leaves, gradient = (tensor.double() for tensor in given)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    y = F.conv2d(*leaves, padding=leaves[1].shape[2] // 2)
    kept = gradient * lets_through if rectify else gradient
    return [(y.relu() if rectify else y).detach(), *torch.autograd.grad(y, leaves, kept)]


def distances(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in expected]
    pairs = zip(found, expected, strict=True)
    return [float((one - other).abs().max() / other.abs().max()) for one, other in pairs]


def off(shape: tuple[int, ...], size: int, *, rectify: bool = True, nbytes: int = 128 << 20) -> float:
    """Return the largest distance of results and gradients, as a share of each one's largest value."""
    given = make(*shape)
    found = differentiate(given, size, rectify=rectify, nbytes=nbytes)
    return max(distances(found, expect(given, found[0] > 0, rectify=rectify)))


@contextmanager
def threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", TILE_SIZES)
@pytest.mark.parametrize("shape", CASES)
def test_results_and_gradients_equal_the_direct_convolutions(shape: tuple[int, ...], size: int) -> None:
    if tile_geometry(shape[3], shape[4], shape[5], size, NO_POOL) is None:
        pytest.skip(f"tiles of {size} hold no output of this kernel")
    assert off(shape, size) < TOLERANCE


def test_without_a_relu_all_of_the_gradient_comes_through() -> None:
    assert off((2, 20, 32, 25, 30, 5), 16, rectify=False) < TOLERANCE


@pytest.mark.parametrize("pool", [Pool(3, 2), Pool(2, 2), Pool(3, 1)])
@pytest.mark.parametrize("shape", [(2, 20, 32, 25, 30, 5), (1, 3, 40, 23, 22, 7)])
def test_a_max_poolings_gradient_goes_to_the_maxima(shape: tuple[int, ...], pool: Pool) -> None:
    """Sizes with windows that hang over; the seeds have no ties, and no maximum close to another one or to zero."""
    x, weight, bias, _ = make(*shape)
    height, width = (pool.size(length) for length in shape[3:5])
    gradient = torch.randn(shape[0], shape[2], height, width, generator=torch.Generator().manual_seed(0))
    found, expected = [], []
    for leaves, results in (([x, weight, bias], found), ([x.double(), weight.double(), bias.double()], expected)):
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        if leaves[0].dtype == torch.float32:
            y = convolve(*leaves, size=16, rectify=True, pool=pool)
        else:
            y = F.conv2d(*leaves, padding=shape[5] // 2).relu()
            y = F.max_pool2d(y, pool.kernel, pool.stride, ceil_mode=True)
        results += [y.detach(), *torch.autograd.grad(y, leaves, gradient.to(y.dtype))]
    assert max(distances(found, expected)) < TOLERANCE


@pytest.mark.parametrize("size", TILE_SIZES)
def test_the_reference_equals_direct_gradients(size: int) -> None:
    x, weight, bias, gradient = make(2, 5, 7, 23, 40, 9)
    found = reference_gradients(x, weight, gradient, size)
    expected = expect([x, weight, bias, gradient], torch.ones(()), rectify=False)[1:3]
    assert max(distances(list(found), expected)) < TOLERANCE


@pytest.mark.parametrize("nbytes", [1, 1 << 20])
def test_a_small_workspace_takes_several_chunks_to_the_same_gradients(nbytes: int) -> None:
    assert off((2, 16, 32, 40, 33, 9), 16, nbytes=nbytes) < TOLERANCE


def test_small_blocks_of_weights_change_nothing_but_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_BLOCK", 1)
    assert off((1, 64, 96, 30, 31, 5), 16) < TOLERANCE


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_change_nothing(count: int) -> None:
    given = make(2, 16, 32, 40, 33, 9)
    with threads(1):
        alone = differentiate(given, 16)
    with threads(count):
        assert all(torch.equal(*pair) for pair in zip(differentiate(given, 16), alone, strict=True))


def test_memory_layouts_do_not_matter() -> None:
    x, weight, bias, gradient = make(2, 32, 16, 17, 21, 5)
    last = torch.channels_last
    expected = differentiate([x, weight, bias, gradient], 24)
    laid_out = [tensor.contiguous(memory_format=last) for tensor in (x, weight)]
    found = differentiate([*laid_out, bias, gradient.contiguous(memory_format=last)], 24)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_gradient_that_nobody_asks_for_is_not_made() -> None:
    x, weight, bias, gradient = make(1, 16, 16, 20, 20, 3)
    convolve(x, weight.requires_grad_(), None, size=16).backward(gradient)
    assert x.grad is None
    first = weight.grad
    weight.grad = None
    convolve(x.requires_grad_(), weight.detach(), bias, size=16).backward(gradient)
    assert first is not None
    assert weight.grad is None
    assert x.grad is not None


def test_a_second_derivative_is_refused() -> None:
    x, weight, bias, gradient = make(1, 16, 16, 20, 20, 3)
    y = convolve(x.requires_grad_(), weight, bias, size=16)
    (first,) = torch.autograd.grad(y, x, gradient.requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_spectra_keep_within_the_workspace() -> None:
    """Chunks of three pairs of tiles, of twelve, where five would not fit."""
    if not compiled():
        pytest.skip("the reference takes the memory that torch takes")
    taken: list[tuple[int, ...]] = []

    class Watched(Workspace):
        def take(self, *counts: int):
            taken.append(counts)
            return super().take(*counts)

    x, weight, bias, gradient = make(2, 32, 32, 40, 33, 9)
    per_pair = 4 * 4 * 16 * 9 * (32 + 32)
    convolve(x.requires_grad_(), weight.requires_grad_(), bias, size=16, workspace=Watched(4 * per_pair)).backward(
        gradient
    )
    assert len(taken) == 2
    for inner, outer, *_ in taken:
        lines = 4 * 2 * 16 * 16 * 9  # one cache line for each frequency keeps them out of the same sets
        assert per_pair < 4 * (inner + outer) <= 4 * per_pair + lines


@pytest.mark.parametrize(
    ("weight_shape", "x_shape", "message"),
    [
        ((16, 16, 4, 4), (1, 16, 20, 20), "K odd"),
        ((16, 16, 17, 17), (1, 16, 20, 20), "at most 16"),
        ((16, 16, 3, 3), (1, 15, 20, 20), r"expected \(N, 16, H, W\)"),
        ((16, 16, 3, 3), (16, 20, 20), r"expected \(N, 16, H, W\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    weight_shape: tuple[int, ...], x_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        convolve(torch.zeros(x_shape), torch.zeros(weight_shape), None, size=16)


@pytest.mark.parametrize("environment", [AVX2, {"NUMBA_DISABLE_JIT": "1"}], ids=["AVX2", "not compiled"])
def test_gradients_are_the_same_without_avx_512(environment: dict[str, str]) -> None:
    """Compiled for another processor, or not at all, in a process of its own."""
    if not compiled():
        pytest.skip("this run is the one that compiles nothing")
    if environment is AVX2 and "avx2" not in _processor_flags():
        pytest.skip("this processor has no AVX2")
    program = "from tests.engine import test_gradients as t; from cpm_port.compute.simd import WIDE; " + (
        "print(WIDE, max(t.off((2, 48, 64, 25, 46, 11), 24), t.off((1, 3, 32, 61, 40, 9), 16)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    wide, distance = done.stdout.split()
    assert float(distance) < TOLERANCE
    assert environment is not AVX2 or wide == "False"


def _processor_flags() -> set[str]:
    import llvmlite.binding

    return {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
