"""Rules of layers that the reference runs did not reach: ties, borders, losses' gradients, rare fields.

Oracles: literal loops written here, formulas of Caffe's layers, and hand-worked values.
"""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from cpm_port.caffe import layer_flops, parse_net, write_mean
from cpm_port.errors import DataError, LayerError, ShapeError, UnsupportedLayerError
from cpm_port.graph import CaffeNet, load_net
from tests.graph.support import relative_error

EXACT = 1e-6  # one or two float32 operations apart


def layer_net(layer: str, *shapes: tuple[int, ...], tops: int = 1, phase: str = "TEST") -> CaffeNet:
    """Build a net of one layer whose bottoms b0, b1, ... have the given shapes and whose tops are t0, t1, ..."""
    inputs = ""
    for i, shape in enumerate(shapes):
        dims = "".join(f"dim: {size} " for size in shape)
        inputs += f'layer {{ name: "b{i}" type: "Input" top: "b{i}" input_param {{ shape {{ {dims} }} }} }} '
    bottoms = "".join(f'bottom: "b{i}" ' for i in range(len(shapes)))
    names = "".join(f'top: "t{i}" ' for i in range(tops))
    return load_net(parse_net(f'{inputs} layer {{ name: "l" {bottoms} {names} {layer} }}', phase=phase))


def run(layer: str, *bottoms: Tensor, tops: int = 1) -> tuple[Tensor, ...]:
    net = layer_net(layer, *(tuple(b.shape) for b in bottoms), tops=tops)
    outputs = net({f"b{i}": bottom for i, bottom in enumerate(bottoms)})
    return tuple(outputs[f"t{i}"] for i in range(tops))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Pooling


def pool_by_loops(x: np.ndarray, kind: str, k: int, s: int, p: int, ceil: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pool one (H, W) map window by window as pooling_layer.cpp does; return values and indices."""
    sizes = []
    for size in x.shape:
        out = (math.ceil if ceil else math.floor)((size + 2 * p - k) / s) + 1
        if p and (out - 1) * s >= size + p:
            out -= 1
        sizes.append(out)
    values, indices = np.zeros(sizes, np.float32), np.full(sizes, -1, np.float32)
    for i, j in np.ndindex(*sizes):
        top, left = i * s - p, j * s - p
        bottom, right = min(top + k, x.shape[0] + p), min(left + k, x.shape[1] + p)
        area = (bottom - top) * (right - left)
        rows = range(max(top, 0), min(bottom, x.shape[0]))
        columns = range(max(left, 0), min(right, x.shape[1]))
        if kind == "MAX":
            values[i, j] = -np.finfo(np.float32).max
            for r in rows:
                for c in columns:
                    if x[r, c] > values[i, j]:
                        values[i, j], indices[i, j] = x[r, c], r * x.shape[1] + c
        else:
            total = sum(float(x[r, c]) for r in rows for c in columns)
            values[i, j] = total / area if area else np.nan
    return values, indices


def check_pooling(k: int, s: int, p: int, size: tuple[int, int], *, ceil: bool = True) -> np.ndarray:
    """Hold MAX (with and without its second top) and AVE to the loop; return the maxima."""
    x = normal(1, 1, *size, seed=3).round(decimals=0)  # whole numbers: many ties
    fields = f"kernel_size: {k} stride: {s} pad: {p} round_mode: {'CEIL' if ceil else 'FLOOR'}"
    values, indices = pool_by_loops(x[0, 0].numpy(), "MAX", k, s, p, ceil)
    found, mask = run(f'type: "Pooling" pooling_param {{ pool: MAX {fields} }}', x, tops=2)
    assert np.array_equal(found[0, 0].numpy(), values)
    assert np.array_equal(mask[0, 0].numpy(), indices)
    (alone,) = run(f'type: "Pooling" pooling_param {{ pool: MAX {fields} }}', x)
    assert torch.equal(alone, found)
    averages, _ = pool_by_loops(x[0, 0].numpy(), "AVE", k, s, p, ceil)
    (found,) = run(f'type: "Pooling" pooling_param {{ pool: AVE {fields} }}', x)
    assert relative_error(found[0, 0], averages) <= EXACT
    return values


@pytest.mark.parametrize(("k", "s"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 3)])
def test_pooling_rounds_up_and_clips_its_last_windows(k: int, s: int) -> None:
    check_pooling(k, s, 0, (9, 6))


@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (5, 4, 2)])
def test_pooling_rounds_down_where_the_field_says_so(k: int, s: int, p: int) -> None:
    check_pooling(k, s, p, (9, 6), ceil=False)


@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 1), (2, 3, 1), (3, 3, 2), (3, 4, 1)])
def test_pooling_drops_a_last_window_that_starts_in_the_padding(k: int, s: int, p: int) -> None:
    check_pooling(k, s, p, (7, 12))  # the rows drop theirs
    assert -(-(7 + 2 * p - k) // s) * s >= 7 + p


@pytest.mark.parametrize(("k", "s", "p"), [(3, 1, 1), (3, 2, 1), (5, 2, 2), (5, 3, 2)])
def test_padded_pooling_keeps_its_other_windows(k: int, s: int, p: int) -> None:
    check_pooling(k, s, p, (7, 12))


@pytest.mark.parametrize(("k", "s", "p"), [(3, 1, 2), (5, 2, 3), (5, 3, 4)])
@pytest.mark.parametrize("ceil", [True, False])
def test_pooling_pads_by_more_than_half_a_kernel(k: int, s: int, p: int, ceil: bool) -> None:
    check_pooling(k, s, p, (9, 6), ceil=ceil)


@pytest.mark.parametrize(("k", "s", "size"), [(1, 3, (9, 6)), (2, 4, (7, 7)), (1, 4, (7, 12))])
def test_a_window_wholly_outside_the_map_has_no_maximum_and_no_average(k: int, s: int, size: tuple[int, int]) -> None:
    assert check_pooling(k, s, 0, size).min() == -np.finfo(np.float32).max


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(9, 8), (7, 6), (4, 4)])
def test_spp_pools_each_level_into_its_bins(pool: str, size: tuple[int, int]) -> None:
    x = normal(1, 1, *size)
    expected = []
    for bins in (1, 2, 4):
        kernel = [math.ceil(side / bins) for side in size]
        pad = [(k * bins - side + 1) // 2 for k, side in zip(kernel, size, strict=True)]
        fields = "".join(
            f"{name}_h: {pair[0]} {name}_w: {pair[1]} "
            for name, pair in (("kernel", kernel), ("stride", kernel), ("pad", pad))
        )
        expected.append(run(f'type: "Pooling" pooling_param {{ pool: {pool} {fields} }}', x)[0].flatten(1))
    (found,) = run(f'type: "SPP" spp_param {{ pyramid_height: 3 pool: {pool} }}', x)
    assert torch.equal(found, torch.cat(expected, dim=1))


def test_a_pyramid_of_one_level_stays_four_dimensional() -> None:
    x = normal(2, 3, 5, 4)
    (found,) = run('type: "SPP" spp_param { pyramid_height: 1 }', x)
    assert torch.equal(found, x.amax(dim=(2, 3), keepdim=True))


# Ties


def test_of_equal_values_argmax_ranks_the_larger_index_first() -> None:
    x = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]])
    (found,) = run('type: "ArgMax" argmax_param { top_k: 4 axis: 1 }', x)
    assert found.tolist() == [[4.0, 2.0, 1.0, 3.0]]
    (found,) = run('type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }', x)
    assert found.tolist() == [[[4.0, 2.0], [3.0, 3.0]]]


@pytest.mark.parametrize(
    ("layer", "more", "expected"),
    [
        ('type: "ArgMax" argmax_param { out_max_val: true }', (), [[[0.0], [0.5]], [[0.0], [2.0]]]),
        ('type: "HingeLoss"', ((0.0, 0.0),), 0.25),
        ('type: "MultinomialLogisticLoss"', ((0.0, 0.0),), 0.0),
        ('type: "ContrastiveLoss"', ((0.5, 1.0), (1.0, 1.0)), 0.25),
    ],
)
def test_items_of_a_single_value_need_no_axis_for_it(
    layer: str, more: tuple[tuple[float, ...], ...], expected: float | list[list[list[float]]]
) -> None:
    (found,) = run(layer, torch.tensor([0.5, 2.0]), *map(torch.tensor, more))
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("values", "winner"), [((1, 1, 0), 1), ((1, 0, 1), 0), ((0, 1, 1), 1), ((1, 1, 1), 1), ((0, 0, 1), 2)]
)
def test_of_equal_bottoms_eltwise_max_gives_the_gradient_to_one(values: tuple[float, ...], winner: int) -> None:
    bottoms = [torch.full((2,), float(value)).requires_grad_() for value in values]
    run('type: "Eltwise" eltwise_param { operation: MAX }', *bottoms)[0].sum().backward()
    assert [float(b.grad.sum()) for b in bottoms] == [2.0 * (index == winner) for index in range(3)]  # type: ignore[union-attr]


def test_eltwise_prod_gives_gradients_at_zero() -> None:
    a, b = torch.tensor([0.0, 2.0]).requires_grad_(), torch.tensor([3.0, 0.0]).requires_grad_()
    run('type: "Eltwise" eltwise_param { operation: PROD }', a, b)[0].sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.tolist(), b.grad.tolist()) == ([3.0, 0.0], [0.0, 2.0])


# Accuracy


def test_accuracy_counts_the_top_k_and_ranks_ties_by_index() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([1.0, 0.0, 0.0])  # ranks 1 (behind the later equal one), 0, 2
    for k, right in ((1, 1), (2, 2), (3, 3)):
        (found,) = run(f'type: "Accuracy" accuracy_param {{ top_k: {k} }}', scores, labels)
        assert float(found) == pytest.approx(right / 3)


def test_accuracy_per_class_and_ignored_labels() -> None:
    scores = torch.tensor([[[2.0, 0.0, 0.0, 2.0], [1.0, 3.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])  # (1, 3, 4)
    labels = torch.tensor([[0.0, 1.0, 0.0, 255.0]])
    accuracy, classes = run('type: "Accuracy" accuracy_param { ignore_label: 255 }', scores, labels, tops=2)
    assert float(accuracy) == pytest.approx(2 / 3)
    assert classes.tolist() == [0.5, 1.0, 0.0]


# Losses


def test_softmax_loss_gradient_is_softmax_minus_one_at_the_label() -> None:
    x, labels = (
        normal(3, 5, 2, 2).requires_grad_(),
        torch.tensor([0.0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]).view(3, 1, 2, 2),
    )
    loss, p = run('type: "SoftmaxWithLoss"', x, labels, tops=2)
    one_hot = torch.zeros_like(x).scatter(1, labels.long(), 1.0)
    assert torch.allclose(p, x.softmax(1))
    assert loss.item() == pytest.approx(-(p.log() * one_hot).sum().item() / 12, rel=1e-6)
    loss.backward()
    assert relative_error(x.grad, ((p - one_hot) / 12).detach().numpy()) <= EXACT


@pytest.mark.parametrize(
    ("fields", "divisor"),
    [
        ("", 10),
        ("normalization: FULL", 12),
        ("normalization: VALID", 10),
        ("normalization: BATCH_SIZE", 3),
        ("normalization: NONE", 1),
        ("normalize: true", 10),
        ("normalize: false", 3),
    ],
)
def test_softmax_loss_normalizes_as_asked_and_skips_the_ignored_label(fields: str, divisor: float) -> None:
    x, labels = (
        normal(3, 5, 2, 2).requires_grad_(),
        torch.tensor([0.0, 1, 2, 9, 4, 0, 1, 9, 3, 4, 0, 1]).view(3, 1, 2, 2),
    )
    (loss,) = run(f'type: "SoftmaxWithLoss" loss_param {{ ignore_label: 9 {fields} }}', x, labels)
    loss.backward()
    p = x.detach().softmax(1)
    total = 0.0
    expected = torch.zeros_like(p)
    for n, i, j in np.ndindex(3, 2, 2):
        label = int(labels[n, 0, i, j])
        if label != 9:
            total -= math.log(p[n, label, i, j])
            expected[n, :, i, j] = p[n, :, i, j]
            expected[n, label, i, j] -= 1
    assert float(loss.detach()) == pytest.approx(total / divisor, rel=1e-6)
    assert relative_error(x.grad, (expected / divisor).numpy()) <= EXACT


def test_softmax_loss_of_an_impossible_label_is_floored_but_still_teaches() -> None:
    x = torch.tensor([[200.0, 0.0]]).requires_grad_()
    (loss,) = run('type: "SoftmaxWithLoss"', x, torch.tensor([1.0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-math.log(1.17549435e-38), rel=1e-6)
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, -1.0]]


def test_sigmoid_cross_entropy_gradient_is_sigmoid_minus_target_over_the_batch() -> None:
    x, targets = (5 * normal(3, 4)).requires_grad_(), normal(3, 4, seed=1).sigmoid()
    (loss,) = run('type: "SigmoidCrossEntropyLoss"', x, targets)
    loss.backward()
    s = x.detach().double().sigmoid()
    expected = -(targets * s.log() + (1 - targets) * (1 - s).log()).sum() / 3
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert relative_error(x.grad, ((s.float() - targets) / 3).numpy()) <= EXACT


def test_sigmoid_cross_entropy_skips_the_ignored_label() -> None:
    x, targets = normal(2, 3).requires_grad_(), torch.tensor([[1.0, -1, 0], [0.0, 1, -1]])
    (loss,) = run('type: "SigmoidCrossEntropyLoss" loss_param { ignore_label: -1 normalization: VALID }', x, targets)
    loss.backward()
    assert x.grad is not None
    assert x.grad[0, 1] == x.grad[1, 2] == 0
    assert float(x.grad[0, 0]) == pytest.approx(float((x[0, 0].detach().sigmoid() - 1) / 4), rel=1e-5)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_loss_is_caffes_loop(norm: str) -> None:
    x, labels = (2 * normal(4, 3)).requires_grad_(), torch.tensor([0.0, 2, 1, 1])
    (loss,) = run(f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}', x, labels)
    loss.backward()
    total, expected = 0.0, np.zeros((4, 3), np.float32)
    for n, c in np.ndindex(4, 3):
        sign = -1 if c == labels[n] else 1
        margin = max(0.0, 1 + sign * float(x[n, c].detach()))
        total += margin if norm == "L1" else margin**2
        expected[n, c] = sign * (float(margin > 0) if norm == "L1" else 2 * margin) / 4
    assert float(loss.detach()) == pytest.approx(total / 4, rel=1e-5)
    assert relative_error(x.grad, expected) <= EXACT


def test_multinomial_logistic_loss_floors_probabilities_at_1e_20() -> None:
    p = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).requires_grad_()
    (loss,) = run('type: "MultinomialLogisticLoss"', p, torch.tensor([0.0, 1.0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((-math.log(0.25) - math.log(1e-20)) / 2, rel=1e-6)
    assert p.grad is not None
    assert np.allclose(p.grad.numpy(), [[-2.0, 0.0], [0.0, -0.5e20]], rtol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive_loss_is_caffes_loop(legacy: bool) -> None:
    a, b = normal(6, 3, 1, 1).requires_grad_(), normal(6, 3, 1, 1, seed=1).requires_grad_()
    with torch.no_grad():
        b[4] = a[4]  # no distance at all
        b[3] = a[3] + 0.1
    similar = torch.tensor([1.0, 0, 1, 0, 0, 1])
    margin = 2.5
    fields = f"margin: {margin} legacy_version: {str(legacy).lower()}"
    (loss,) = run(f'type: "ContrastiveLoss" contrastive_loss_param {{ {fields} }}', a, b, similar)
    loss.backward()
    total, expected = 0.0, np.zeros((6, 3, 1, 1), np.float32)
    for n in range(6):
        difference = (a[n] - b[n]).detach().numpy().astype(np.float64)
        squared = (difference**2).sum()
        if similar[n]:
            total += squared
            expected[n] = difference / 6
        elif legacy:
            total += max(margin - squared, 0)
            expected[n] = -difference / 6 if margin > squared else 0
        else:
            short = margin - math.sqrt(squared)
            total += max(short, 0) ** 2
            expected[n] = -short / (math.sqrt(squared) + 1e-4) * difference / 6 if short > 0 else 0
    assert float(loss.detach()) == pytest.approx(total / 12, rel=1e-5)
    assert relative_error(a.grad, expected) <= 10 * EXACT
    assert relative_error(b.grad, -expected) <= 10 * EXACT


@pytest.mark.parametrize(
    ("layer", "labels"),
    [
        ('type: "SoftmaxWithLoss"', (2,)),
        ('type: "EuclideanLoss"', (3, 5)),
        ('type: "SigmoidCrossEntropyLoss"', (3,)),
        ('type: "HingeLoss"', (4,)),
    ],
)
def test_losses_refuse_another_number_of_labels(layer: str, labels: tuple[int, ...]) -> None:
    with pytest.raises((ShapeError, LayerError), match="layer 'l'"):
        layer_net(layer, (3, 4), labels)


@pytest.mark.parametrize(("label", "found"), [(5.0, "5"), (-1.0, "-1")])
def test_labels_out_of_range_are_named(label: float, found: str) -> None:
    message = rf"layer 'l' \(SoftmaxWithLoss\): bottom 'b1' holds {found}, expected 0 to 4"
    with pytest.raises(DataError, match=message):
        run('type: "SoftmaxWithLoss"', normal(2, 5), torch.tensor([0.0, label]))


# Others


def test_embed_and_batch_reindex_sum_the_gradients_of_repeated_rows() -> None:
    net = layer_net('type: "Embed" embed_param { num_output: 2 input_dim: 3 }', (4,))
    net({"b0": torch.tensor([0.0, 2, 2, 2])})["t0"].sum().backward()
    table, bias = net.params["l"]
    assert table.grad is not None
    assert bias.grad is not None
    assert table.grad.tolist() == [[1, 1], [0, 0], [3, 3]]
    assert bias.grad.tolist() == [4, 4]
    x = normal(3, 2).requires_grad_()
    run('type: "BatchReindex"', x, torch.tensor([2.0, 0, 2]))[0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1], [0, 0], [2, 2]]


def test_mvn_of_a_constant_has_a_finite_gradient() -> None:
    x = torch.full((1, 2, 3, 3), 0.5).requires_grad_()
    (y,) = run('type: "MVN"', x)
    (y * normal(1, 2, 3, 3)).sum().backward()
    assert y.abs().max() == 0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_mvn_takes_eps_into_its_gradient_as_caffe_does() -> None:
    x, dy = normal(2, 3, 4, 5).requires_grad_(), normal(2, 3, 4, 5, seed=1)
    (y,) = run('type: "MVN" mvn_param { eps: 0.5 }', x)
    (y * dy).sum().backward()
    centered = (x - x.mean((2, 3), keepdim=True)).detach()
    scale = centered.square().mean((2, 3), keepdim=True).sqrt() + 0.5
    expected_y = centered / scale
    mean = [t.mean((2, 3), keepdim=True) for t in (dy, dy * expected_y)]
    assert relative_error(y, expected_y.numpy()) <= EXACT
    assert relative_error(x.grad, ((dy - mean[0] - expected_y * mean[1]) / scale).numpy()) <= EXACT


def test_lrn_within_a_channel_ignores_k_as_caffe_does() -> None:
    x = normal(1, 2, 5, 5)
    fields = "local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL"
    found = [run(f'type: "LRN" lrn_param {{ {fields} k: {k} }}', x)[0] for k in (1, 2)]
    assert torch.equal(*found)


def test_swish_clip_and_parameter() -> None:
    x = normal(2, 3)
    (found,) = run('type: "Swish" swish_param { beta: 1.5 }', x)
    assert relative_error(found, (x / (1 + torch.exp(-1.5 * x))).numpy()) <= EXACT
    bounded = torch.tensor([-2.0, -1.0, 0.5, 1.0, 3.0]).requires_grad_()
    (found,) = run('type: "Clip" clip_param { min: -1 max: 1 }', bounded)
    found.sum().backward()
    assert found.tolist() == [-1, -1, 0.5, 1, 1]
    assert bounded.grad is not None
    assert bounded.grad.tolist() == [0, 1, 1, 1, 0]
    net = layer_net('type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }')
    net.load_weights({"l": [x]})
    assert torch.equal(net({})["t0"], x)


def test_convolution_over_a_later_axis_keeps_the_axes_before_it() -> None:
    net = layer_net(
        'type: "Convolution" convolution_param { axis: 2 num_output: 4 kernel_size: 3 '
        'weight_filler { type: "gaussian" } }',
        (2, 3, 5, 6, 7),
    )
    x = normal(2, 3, 5, 6, 7)
    weight, bias = net.params["l"]
    expected = torch.stack([torch.nn.functional.conv2d(x[:, i], weight, bias) for i in range(3)], dim=1)
    assert torch.allclose(net({"b0": x})["t0"], expected, atol=1e-5)


def test_im2col_lays_out_windows_channel_by_channel() -> None:
    x = normal(2, 3, 6, 7)
    (found,) = run(
        'type: "Im2col" convolution_param { kernel_h: 2 kernel_w: 3 stride: 2 dilation: 2 pad_h: 1 pad_w: 0 }', x
    )
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (0, 0)))
    assert found.shape == (2, 18, 3, 2)
    for n, c, i, j, row, column in np.ndindex(2, 3, 2, 3, 3, 2):
        expected = padded[n, c, 2 * row + 2 * i, 2 * column + 2 * j]
        assert float(found[n, (c * 2 + i) * 3 + j, row, column]) == expected


def test_batch_norm_of_one_value_per_channel_trains() -> None:
    net = layer_net('type: "BatchNorm"', (1, 2, 1, 1), phase="TRAIN")
    assert net({"b0": normal(1, 2, 1, 1)})["t0"].abs().max() == 0
    assert net.params["l"][2].item() == 1.0


def test_what_caffe_refuses_is_refused() -> None:
    with pytest.raises(UnsupportedLayerError, match="local_size 4: Caffe takes odd sizes only"):
        layer_net('type: "LRN" lrn_param { local_size: 4 }', (1, 4, 3, 3))
    with pytest.raises(
        LayerError, match=r"'l' \(SPP\): 4 bins over \(7, 5\): pad \(1, 2\) is not smaller than kernel \(2, 2\)"
    ):
        layer_net('type: "SPP" spp_param { pyramid_height: 3 }', (1, 1, 7, 5))
    with pytest.raises(LayerError, match="4 spatial axes, expected 1 to 3"):
        layer_net('type: "Convolution" convolution_param { num_output: 1 kernel_size: 1 }', (1, 1, 2, 2, 2, 2))


# Filter, the recurrent types, InfogainLoss, HDF5Output


def test_filters_gradient_reaches_the_items_that_passed() -> None:
    x = normal(4, 2).requires_grad_()
    (found,) = run('type: "Filter"', x, torch.tensor([0.0, 1.0, -2.0, 0.0]))
    assert torch.equal(found, x[1:3])
    (found * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]


def test_layers_behind_a_filter_take_what_passed_and_none_too() -> None:
    net = load_net(
        parse_net("""
            input: "x" input_shape { dim: 4 dim: 3 } input: "s" input_shape { dim: 4 }
            layer { name: "f" type: "Filter" bottom: "x" bottom: "s" top: "y" }
            layer { name: "c" type: "Concat" bottom: "y" bottom: "y" top: "z" concat_param { axis: 0 } }""")
    )
    assert net.blob_shapes["z"] == (8, 3)
    for passed in (3, 0, 4):
        selector = torch.tensor([1.0] * passed + [0.0] * (4 - passed))
        assert net({"x": normal(4, 3), "s": selector})["z"].shape == net.blob_shapes["z"] == (2 * passed, 3)


LSTM = 'type: "LSTM" recurrent_param { num_output: 2 weight_filler { type: "gaussian" std: 0.5 } }'


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_a_recurrent_layer_goes_on_where_the_last_call_ended(kind: str) -> None:
    net = layer_net(LSTM.replace("LSTM", kind), (4, 3, 5), (4, 3))
    x, cont = normal(4, 3, 5), torch.ones(4, 3)
    whole = net({"b0": x, "b1": cont})["t0"]
    again = layer_net(LSTM.replace("LSTM", kind), (2, 3, 5), (2, 3))
    again.load_weights({"l": list(net.params["l"])})
    halves = [again({"b0": part, "b1": cont[:2]})["t0"] for part in (x[:2], x[2:])]
    assert torch.equal(torch.cat(halves), whole)
    begun_anew = again({"b0": x[:2], "b1": torch.tensor([[0.0] * 3, [1.0] * 3])})["t0"]
    assert torch.equal(begun_anew, halves[0])


def test_a_recurrent_layers_gradient_ends_at_the_call() -> None:
    net = layer_net(LSTM, (2, 1, 3), (2, 1))
    first = normal(2, 1, 3).requires_grad_()
    net({"b0": first, "b1": torch.ones(2, 1)})
    net({"b0": normal(2, 1, 3, seed=1), "b1": torch.ones(2, 1)})["t0"].sum().backward()
    assert first.grad is None


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 3, 5), (4, 2)), r"expected \(time, streams, ...\) and \(time, streams\)"),
        (((4, 3, 5), (4, 3), (2, 6)), "static input of shape"),
        (((4, 3, 5),), "has 1 bottoms; expected 2 to 3"),
    ],
)
def test_bottoms_that_are_no_sequence_are_refused(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        layer_net(LSTM, *shapes)


def test_an_lstms_cost_is_its_products() -> None:
    spec = layer_net(LSTM, (4, 3, 5), (4, 3), (3, 7)).layers[-1]
    # x: 8 x 5 and a bias, h: 8 x 2, at each of 12 places; the static input: 8 x 7 for each of 3 streams
    assert layer_flops(spec, [(4, 3, 5), (4, 3), (3, 7)]) == 12 * (2 * 8 * 5 + 8 + 2 * 8 * 2) + 3 * 2 * 8 * 7


INFOGAIN = 'type: "InfogainLoss"'


def test_infogain_loss_counts_no_probability_below_1e_20_but_keeps_the_gradient() -> None:
    x = torch.tensor([[0.0, 100.0]]).requires_grad_()
    (loss,) = run(INFOGAIN, x, torch.tensor([0.0]), torch.eye(2).reshape(1, 1, 2, 2))
    assert loss.item() == pytest.approx(-math.log(1e-20), rel=EXACT)
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[-1.0, 1.0]]


def test_infogain_loss_reads_its_matrix_from_a_file(tmp_path: Path) -> None:
    matrix, x, labels = normal(1, 1, 3, 3), normal(4, 3), torch.tensor([0.0, 2.0, 1.0, 2.0])
    write_mean(tmp_path / "h.binaryproto", matrix.numpy())
    field = f'infogain_loss_param {{ source: "{tmp_path / "h.binaryproto"}" }}'
    assert torch.equal(run(f"{INFOGAIN} {field}", x, labels)[0], run(INFOGAIN, x, labels, matrix)[0])
    with pytest.raises(LayerError, match="holds 9 values for 4 classes"):
        run(f"{INFOGAIN} {field}", normal(4, 4), labels)
    with pytest.raises(LayerError, match="expected a third bottom or infogain_loss_param"):
        run(INFOGAIN, x, labels)


def test_infogain_loss_refuses_what_caffe_does() -> None:
    with pytest.raises(UnsupportedLayerError, match="has normalize; expected normalization"):
        layer_net(f"{INFOGAIN} loss_param {{ normalize: true }}", (4, 3), (4,), (1, 1, 3, 3))


def hdf5_output(path: Path) -> CaffeNet:
    return layer_net(f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}', (2, 3), (2,), tops=0)


def test_hdf5_output_writes_its_bottoms_and_adds_later_batches(tmp_path: Path) -> None:
    path, batches = tmp_path / "out.h5", [normal(2, 3, seed=seed) for seed in range(3)]
    labels = [torch.tensor([0.0, 1.0]) + 2 * index for index in range(3)]
    path.touch()
    net = hdf5_output(path)
    for count in (1, 2, 3):
        net({"b0": batches[count - 1], "b1": labels[count - 1]})
        with h5py.File(path) as file:
            assert np.array_equal(file["data"], torch.cat(batches[:count]).numpy()[:, :, None, None])
            assert np.array_equal(file["label"], torch.cat(labels[:count]).numpy()[:, None, None, None])
            assert file["data"].dtype == file["label"].dtype == np.float32
    hdf5_output(path)({"b0": batches[0], "b1": labels[0]})
    with h5py.File(path) as file:
        assert len(file["data"]) == 2, "another net writes the file anew"


def test_hdf5_output_leaves_a_file_of_another_kind_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(DataError, match="exists and is no HDF5 file"):
        hdf5_output(path)({"b0": normal(2, 3), "b1": normal(2)})
    assert path.read_text() == "mine"


# Gradients that are held back


@pytest.mark.parametrize(("forced", "flows"), [("", False), ("force_backward: true", True)])
def test_force_backward_wins_over_propagate_down(forced: str, flows: bool) -> None:
    net = load_net(
        parse_net(f"""{forced} input: "x" input_shape {{ dim: 2 }}
            layer {{ name: "l" type: "Power" bottom: "x" top: "y" propagate_down: false }}""")
    )
    x = normal(2).requires_grad_()
    assert net(x)["y"].requires_grad is flows


INDEX = 'bottom: "x" top: "y" top: "index" pooling_param { kernel_h: 15 kernel_w: 20'
INDEXED = {
    "argmax": ((300, 1, 1), 'type: "ArgMax" bottom: "x" top: "index" argmax_param { axis: 1 }'),
    "pooling": ((1, 15, 20), f'type: "Pooling" {INDEX} }}'),
    "pooling with padding": ((1, 15, 20), f'type: "Pooling" {INDEX} stride: 15 pad: 2 }}'),
}


@pytest.mark.parametrize("place", [257, 299])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kind", INDEXED)
def test_indices_stay_whole_in_bfloat16(kind: str, device: str, place: int) -> None:
    """Bfloat16 has no whole numbers between 256 and 258; by hand: the largest value lies at that place."""
    (channels, height, width), layer = INDEXED[kind]
    shape = f"input_shape {{ dim: 1 dim: {channels} dim: {height} dim: {width} }}"
    net = load_net(parse_net(f'input: "x" {shape} layer {{ name: "i" {layer} }}')).to(device)
    x = torch.zeros(1, channels, height, width, dtype=torch.bfloat16, device=device)
    x.view(-1)[place] = 1
    found = net({"x": x})["index"]
    assert found.dtype == torch.float32
    assert place in found.flatten().tolist()
