"""Layers and fields that forks of Caffe added compute what those forks say.

Oracles: literal loops and NumPy written from the forks' descriptions (each module in `cpm_port/graph/layers` names its
fork), hand-worked values; `test_fork_layers_in_opencv.py` holds some types to OpenCV's importer, too.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cpm_port.caffe import layer_flops, parse_net, read_net, write_prototxt
from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.errors import DataError, LayerError, UnsupportedLayerError
from cpm_port.graph import CaffeNet, load_net, supported_types
from tests.graph.support import relative_error
from tests.graph.test_layer_rules import EXACT, layer_net, normal, run

SOME_STEPS = 1e-5  # a dozen float32 operations


def weighted(layer: str, shapes: list[tuple[int, ...]], weights: list[Tensor], *, phase: str = "TEST") -> CaffeNet:
    net = layer_net(layer, *shapes, phase=phase)
    net.load_weights({"l": weights})
    return net


# SSD


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 0), (1,)])
def test_permute_moves_axes_and_keeps_the_others_behind(order: tuple[int, ...]) -> None:
    x = normal(2, 3, 4, 5)
    (found,) = run("type: 'Permute' permute_param { " + " ".join(f"order: {axis}" for axis in order) + " }", x)
    assert np.array_equal(found.numpy(), x.numpy().transpose(*order, *(a for a in range(4) if a not in order)))
    with pytest.raises(LayerError, match=r"order \(0, 0\)"):
        layer_net("type: 'Permute' permute_param { order: 0 order: 0 }", (2, 3))


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_normalize_divides_by_the_length(across: bool, shared: bool) -> None:
    x, scale = normal(2, 3, 4, 5), torch.tensor(2.5) if shared else torch.tensor([1.0, -2.0, 3.0])
    fields = f"across_spatial: {across} channel_shared: {shared} eps: 0.01".lower()
    net = weighted(f"type: 'Normalize' norm_param {{ {fields} }}", [(2, 3, 4, 5)], [scale])
    squares = x.numpy().astype(np.float64) ** 2
    length = np.sqrt(squares.sum((1, 2, 3) if across else 1, keepdims=True) + 0.01)
    expected = x.numpy() / length * scale.numpy().reshape(-1, 1, 1)
    assert relative_error(net(x)["t0"], expected.astype(np.float32)) <= SOME_STEPS


def test_normalize_starts_at_1_where_no_filler_is_given() -> None:
    net = layer_net("type: 'Normalize' norm_param { channel_shared: false }", (1, 3, 2, 2))
    assert net.params["l"][0].tolist() == [1.0, 1.0, 1.0]


PRIORS = [
    ("min_size: 30", 8),
    ("min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3 offset: 0.3", 8),
    ("min_size: 30 min_size: 50.5 max_size: 60 max_size: 70 aspect_ratio: 2 flip: false clip: true step: 9", 8),
    ("min_size: 20 aspect_ratio: 2 aspect_ratio: 0.5 step_h: 7 step_w: 6 img_size: 64", 8),
    ("min_size: 20 img_h: 50 img_w: 40 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2", 8),
]


def priors_by_loops(text: str, rows: int, columns: int, image: tuple[int, int]) -> np.ndarray:
    """Write a cell's boxes one by one."""
    param = parse_net(f"layer {{ name: 'l' type: 'PriorBox' prior_box_param {{ {text} }} }}").layers[0].params
    p = param.prior_box_param
    height, width = (p.img_h, p.img_w) if p.img_h else (p.img_size or image[0], p.img_size or image[1])
    step_y = p.step_h or p.step or height / rows
    step_x = p.step_w or p.step or width / columns
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if not any(abs(ratio - known) < 1e-6 for known in ratios):
            ratios.append(ratio)
            if p.flip:
                ratios.append(1 / ratio)
    boxes = []
    for y in range(rows):
        for x in range(columns):
            for index, low in enumerate(int(size) for size in p.min_size):
                sizes = [(low, low)]
                if p.max_size:
                    sizes.append((math.sqrt(low * int(p.max_size[index])),) * 2)
                sizes += [(low * math.sqrt(ratio), low / math.sqrt(ratio)) for ratio in ratios if abs(ratio - 1) > 1e-6]
                for w, h in sizes:
                    cx, cy = (x + p.offset) * step_x, (y + p.offset) * step_y
                    boxes.append(
                        [(cx - w / 2) / width, (cy - h / 2) / height, (cx + w / 2) / width, (cy + h / 2) / height]
                    )
    found = np.array(boxes)
    variance = np.resize(p.variance or [0.1], found.shape)
    return np.stack([(found.clip(0, 1) if p.clip else found).reshape(-1), variance.reshape(-1)])[None].astype(
        np.float32
    )


@pytest.mark.parametrize("text", [text for text, _ in PRIORS])
def test_prior_boxes_stand_around_every_cell(text: str) -> None:
    x, image = normal(1, 4, 3, 5), normal(1, 3, 24, 40)
    (found,) = run(f"type: 'PriorBox' prior_box_param {{ {text} }}", x, image)
    assert relative_error(found, priors_by_loops(text, 3, 5, (24, 40))) <= EXACT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "min_size"),
        ("min_size: 3 max_size: 2", "is not greater than"),
        ("min_size: 3 variance: 1 variance: 2", "2 variances"),
    ],
)
def test_prior_boxes_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        layer_net(f"type: 'PriorBox' prior_box_param {{ {text} }}", (1, 4, 3, 5), (1, 3, 24, 40))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def decode_by_hand(kind: str, prior: np.ndarray, variance: np.ndarray, move: np.ndarray) -> list[float]:
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    d = move * variance
    if kind == "CORNER":
        return [prior[i] + d[i] for i in range(4)]
    if kind == "CORNER_SIZE":
        return [prior[i] + d[i] * (w, h)[i % 2] for i in range(4)]
    cx, cy = (prior[0] + prior[2]) / 2 + d[0] * w, (prior[1] + prior[3]) / 2 + d[1] * h
    w, h = w * math.exp(d[2]), h * math.exp(d[3])
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def detections_by_loops(
    loc: np.ndarray, conf: np.ndarray, prior: np.ndarray, *, kind: str, classes: int, shared: bool, threshold: float,
    nms: float, top_k: int, keep: int, eta: float, in_target: bool,
) -> np.ndarray:  # fmt: skip
    count = prior.shape[2] // 4
    boxes, variances = prior[0].reshape(2, count, 4)
    if in_target:
        variances = np.ones_like(variances)
    rows = []
    for item in range(len(loc)):
        found = []
        for label in range(1, classes):
            moves = loc[item].reshape(count, -1, 4)[:, 0 if shared else label]
            decoded = np.array([decode_by_hand(kind, boxes[i], variances[i], moves[i]) for i in range(count)])
            scores = conf[item].reshape(count, classes)[:, label]
            best = sorted((i for i in range(count) if scores[i] > threshold), key=lambda i: -scores[i])[:top_k]
            kept: list[int] = []
            limit = nms
            for i in best:
                if all(overlap(decoded[i], decoded[k]) <= limit for k in kept):
                    kept.append(i)
                    if eta < 1 and limit > 0.5:
                        limit *= eta
            found += [(label, scores[i], *decoded[i]) for i in kept]
        if keep > -1:
            best_of_all = sorted(found, key=lambda row: -row[1])[:keep]
            found = sorted(best_of_all, key=lambda row: row[0])
        rows += [(item, *row) for row in found]
    return np.array(rows, np.float32)[None, None]


@pytest.mark.parametrize("kind", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("keep", "eta", "in_target"), [(-1, 1.0, False), (5, 1.0, True), (7, 0.8, False)])
def test_detections_are_decoded_and_suppressed_as_loops_do(
    kind: str, shared: bool, keep: int, eta: float, in_target: bool
) -> None:
    classes, count = 4, 24
    (prior,) = run(
        "type: 'PriorBox' prior_box_param { min_size: 20 aspect_ratio: 2 }", normal(1, 1, 2, 4), normal(1, 3, 24, 40)
    )
    loc = 0.3 * normal(2, count * 4 * (1 if shared else classes))
    conf = normal(2, count * classes, seed=1).sigmoid()
    fields = f"""num_classes: {classes} share_location: {str(shared).lower()} code_type: {kind} keep_top_k: {keep}
        confidence_threshold: 0.4 nms_param {{ nms_threshold: 0.55 top_k: 9 eta: {eta} }}
        variance_encoded_in_target: {str(in_target).lower()}"""
    net = layer_net(
        f"type: 'DetectionOutput' detection_output_param {{ {fields} }}", *(t.shape for t in (loc, conf, prior))
    )
    assert net.blob_shapes["t0"] == (1, 1, 1, 7)
    found = net({"b0": loc, "b1": conf, "b2": prior})["t0"]
    expected = detections_by_loops(
        loc.numpy(), conf.numpy(), prior.numpy(), kind=kind, classes=classes, shared=shared, threshold=0.4, nms=0.55,
        top_k=9, keep=keep, eta=eta, in_target=in_target,
    )  # fmt: skip
    assert len(expected[0, 0]) > 4
    assert relative_error(found, expected) <= SOME_STEPS
    assert net.blob_shapes["t0"] == expected.shape


def test_without_detections_every_item_has_a_row_of_minus_ones() -> None:
    (prior,) = run("type: 'PriorBox' prior_box_param { min_size: 20 }", normal(1, 1, 1, 2), normal(1, 3, 24, 40))
    fields = "num_classes: 2 confidence_threshold: 2"
    (found,) = run(
        f"type: 'DetectionOutput' detection_output_param {{ {fields} }}", torch.zeros(2, 8), torch.ones(2, 4), prior
    )
    assert found.tolist() == [[[[0, *[-1] * 6], [1, *[-1] * 6]]]]


def test_detections_are_not_written_to_files() -> None:
    fields = 'num_classes: 2 save_output_param { output_directory: "out" }'
    with pytest.raises(UnsupportedLayerError, match=r"save_output_param.output_directory: detections are not written"):
        layer_net(f"type: 'DetectionOutput' detection_output_param {{ {fields} }}", (1, 8), (1, 4), (1, 2, 8))


# Fast R-CNN


def roi_pool_by_loops(x: np.ndarray, rois: np.ndarray, ph: int, pw: int, scale: float) -> np.ndarray:
    out = np.zeros((len(rois), x.shape[1], ph, pw), np.float32)
    for r, (item, *corners) in enumerate(rois.astype(np.float32)):
        x1, y1, x2, y2 = (math.floor(abs(c * np.float32(scale)) + 0.5) * (1 if c >= 0 else -1) for c in corners)
        h, w = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for c, i, j in np.ndindex(x.shape[1], ph, pw):
            rows = range(max(math.floor(i * h / ph) + y1, 0), min(math.ceil((i + 1) * h / ph) + y1, x.shape[2]))
            columns = range(max(math.floor(j * w / pw) + x1, 0), min(math.ceil((j + 1) * w / pw) + x1, x.shape[3]))
            values = [x[int(item), c, row, column] for row in rows for column in columns]
            out[r, c, i, j] = max(values) if values else 0
    return out


def test_regions_are_pooled_bin_by_bin() -> None:
    x = normal(2, 3, 12, 16).requires_grad_()
    rois = torch.tensor(
        [[0.0, 0, 0, 31, 23], [1, 5, 3, 20, 9], [1, -9, -5, 3, 2], [0, 40, 40, 60, 60], [1, 7, 7, 6, 6]]
    )
    (found,) = run("type: 'ROIPooling' roi_pooling_param { pooled_h: 4 pooled_w: 3 spatial_scale: 0.5 }", x, rois)
    expected = roi_pool_by_loops(x.detach().numpy(), rois.numpy(), 4, 3, 0.5)
    assert np.array_equal(found.detach().numpy(), expected)
    assert (expected == 0).any(), "a region outside the map has empty bins"
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == (expected != 0).sum(), "each maximum has its gradient at one place"


def test_a_region_of_no_item_is_refused() -> None:
    layer = "type: 'ROIPooling' roi_pooling_param { pooled_h: 1 pooled_w: 1 }"
    with pytest.raises(DataError, match="region of item 2; expected 0 to 1"):
        run(layer, normal(2, 1, 3, 3), torch.tensor([[2.0, 0, 0, 1, 1]]))


def test_smooth_l1_is_square_near_zero_and_straight_beyond() -> None:
    x, target = normal(3, 4).requires_grad_(), normal(3, 4, seed=1)
    inside, outside = normal(3, 4, seed=2), normal(3, 4, seed=3)
    layer = "type: 'SmoothL1Loss' smooth_l1_loss_param { sigma: 1.5 }"
    (loss,) = run(layer, x, target, inside, outside)
    total, gradient = 0.0, np.zeros((3, 4), np.float32)
    for place in np.ndindex(3, 4):
        w, v = float(inside[place]), float(outside[place])
        d = w * float((x - target).detach()[place])
        near = abs(d) < 1 / 1.5**2
        total += v * (0.5 * (1.5 * d) ** 2 if near else abs(d) - 0.5 / 1.5**2)
        gradient[place] = v * w * (1.5**2 * d if near else math.copysign(1, d)) / 3
    assert loss.item() == pytest.approx(total / 3, rel=SOME_STEPS)
    loss.backward()
    assert relative_error(x.grad, gradient) <= SOME_STEPS
    net = layer_net(layer, (3, 4), (3, 4))
    assert net.loss_weights == {"t0": 1.0}


# SegNet, ENet, PSPNet


def test_unpooling_puts_values_where_their_maxima_stood() -> None:
    x = normal(2, 3, 5, 7)
    pooled, mask = run("type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }", x, tops=2)
    values = normal(*pooled.shape, seed=1).requires_grad_()
    layer = "type: 'Upsample' upsample_param { scale: 2 pad_out_h: true pad_out_w: true }"
    (found,) = run(layer, values, mask)
    expected = np.zeros((2, 3, 5, 7), np.float32)
    for n, c, i, j in np.ndindex(*pooled.shape):
        place = int(mask[n, c, i, j])
        expected[n, c, place // 7, place % 7] = values.detach()[n, c, i, j]
    assert np.array_equal(found.detach().numpy(), expected)
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.ones_like(values))


def test_of_two_values_for_one_place_the_later_one_stays() -> None:
    mask = torch.tensor([3.0, 3.0, 0.0, 3.0]).reshape(1, 1, 2, 2)
    (found,) = run("type: 'Upsample' upsample_param { scale: 2 }", torch.arange(1.0, 5.0).reshape(1, 1, 2, 2), mask)
    assert found.flatten()[:4].tolist() == [3.0, 0.0, 0.0, 4.0]


def test_upsample_with_sizes_and_without_a_mask() -> None:
    fields = "upsample_param { upsample_h: 6 upsample_w: 9 }"
    assert layer_net(f"type: 'Upsample' {fields}", (1, 2, 3, 4), (1, 2, 3, 4)).blob_shapes["t0"] == (1, 2, 6, 9)
    x = normal(1, 2, 3, 4)
    (found,) = run("type: 'Upsample' upsample_param { scale: 3 }", x)
    assert np.array_equal(found.numpy(), np.kron(x.numpy(), np.ones((3, 3), np.float32)))
    with pytest.raises(LayerError, match="has one bottom and no scale"):
        layer_net("type: 'Upsample'", (1, 2, 3, 4))
    with pytest.raises(LayerError, match="expected at least 2, and 2 where the output is padded"):
        layer_net("type: 'Upsample' upsample_param { scale: 3 pad_out_h: true }", (1, 2, 3, 4), (1, 2, 3, 4))


def blob4(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)


def test_segnets_bn_scales_what_it_normalizes_by_the_batch() -> None:
    x, scale, shift = normal(2, 3, 4, 5), blob4(1.0, -2.0, 3.0), blob4(0.5, 0.0, -1.0)
    array = x.numpy().astype(np.float64)
    mean, variance = array.mean((0, 2, 3), keepdims=True), array.var((0, 2, 3), keepdims=True)
    learned = (array - mean) / np.sqrt(variance + 1e-9) * scale.numpy() + shift.numpy()
    for mode, expected in (("LEARN", learned), ("INFERENCE", array * scale.numpy() + shift.numpy())):
        net = weighted(f"type: 'BN' bn_param {{ bn_mode: {mode} }}", [(2, 3, 4, 5)], [scale, shift])
        assert relative_error(net(x)["t0"], expected.astype(np.float32)) <= SOME_STEPS
        assert [info.lr_mult for info in net.param_info()] == [1.0, 1.0]


def test_pspnets_bn_uses_and_moves_its_statistics() -> None:
    layer = "type: 'BN' bn_param { slope_filler { type: 'constant' value: 1 } momentum: 0.75 eps: 0.01 }"
    x = normal(2, 3, 4, 5)
    weights = [blob4(1.0, -2.0, 3.0), blob4(0.5, 0.0, -1.0), blob4(0.1, 0.2, 0.3), blob4(1.0, 2.0, 3.0)]
    slope, bias, mean, variance = (w.numpy() for w in weights)
    net = weighted(layer, [(2, 3, 4, 5)], weights)
    stored = (x.numpy() - mean) / np.sqrt(variance + 0.01) * slope + bias
    assert relative_error(net(x)["t0"], stored) <= SOME_STEPS
    assert [info.lr_mult for info in net.param_info()] == [1.0, 1.0, 0.0, 0.0]
    net = weighted(layer, [(2, 3, 4, 5)], weights, phase="TRAIN")
    own_mean, own_variance = x.numpy().mean((0, 2, 3), keepdims=True), x.numpy().var((0, 2, 3), keepdims=True)
    own = (x.numpy() - own_mean) / np.sqrt(own_variance + 0.01) * slope + bias
    assert relative_error(net(x)["t0"], own) <= SOME_STEPS
    assert relative_error(net.params["l"][2], 0.75 * mean + 0.25 * own_mean) <= SOME_STEPS
    assert relative_error(net.params["l"][3], 0.75 * variance + 0.25 * own_variance) <= SOME_STEPS
    frozen = weighted(layer.replace("eps", "frozen: true eps"), [(2, 3, 4, 5)], weights, phase="TRAIN")
    assert relative_error(frozen(x)["t0"], stored) <= SOME_STEPS
    assert [info.lr_mult for info in frozen.param_info()] == [0.0] * 4


def interp_by_loops(x: np.ndarray, height: int, width: int) -> np.ndarray:
    out = np.zeros((*x.shape[:2], height, width), np.float64)
    for i, j in np.ndindex(height, width):
        y = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        z = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        a, b = min(int(y), x.shape[2] - 1), min(int(z), x.shape[3] - 1)
        c, d = min(a + 1, x.shape[2] - 1), min(b + 1, x.shape[3] - 1)
        top = x[:, :, a, b] * (1 - z + b) + x[:, :, a, d] * (z - b)
        bottom = x[:, :, c, b] * (1 - z + b) + x[:, :, c, d] * (z - b)
        out[:, :, i, j] = top * (1 - y + a) + bottom * (y - a)
    return out.astype(np.float32)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("zoom_factor: 3", (13, 16)),
        ("shrink_factor: 2", (3, 3)),
        ("height: 9 width: 4", (9, 4)),
        ("height: 1 width: 11", (1, 11)),
        ("height: 5 width: 6", (5, 6)),
    ],
)
def test_interp_lays_corners_on_corners(fields: str, size: tuple[int, int]) -> None:
    x = normal(2, 3, 5, 6)
    (found,) = run(f"type: 'Interp' interp_param {{ {fields} }}", x)
    assert relative_error(found, interp_by_loops(x.numpy(), *size)) <= SOME_STEPS


def test_interp_crops_first_and_follows_a_second_bottom() -> None:
    x = normal(1, 2, 6, 7)
    (found,) = run("type: 'Interp' interp_param { pad_beg: -1 pad_end: -2 }", x, normal(1, 1, 8, 9))
    assert relative_error(found, interp_by_loops(x.numpy()[:, :, 1:4, 1:5], 8, 9)) <= SOME_STEPS
    with pytest.raises(LayerError, match="expected one of zoom_factor"):
        layer_net("type: 'Interp' interp_param { zoom_factor: 2 shrink_factor: 2 }", (1, 2, 6, 7))


# MobileNets


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_a_depthwise_convolution_has_a_group_per_channel(kind: str) -> None:
    fields = "num_output: 4 kernel_size: 3 stride: 2 pad: 1"
    x, weights = normal(2, 4, 7, 6), [normal(4, 1, 3, 3, seed=1), normal(4, seed=2)]
    grouped = weighted(f"type: 'Convolution' convolution_param {{ {fields} group: 4 }}", [x.shape], weights)
    net = weighted(f"type: '{kind}' convolution_param {{ {fields} }}", [x.shape], weights)
    assert torch.equal(net(x)["t0"], grouped(x)["t0"])
    assert layer_flops(net.layers[-1], [x.shape]) == layer_flops(grouped.layers[-1], [x.shape])
    with pytest.raises(LayerError, match="num_output 4 for 3 channels"):
        layer_net(f"type: '{kind}' convolution_param {{ {fields} }}", (2, 3, 7, 6))


@pytest.mark.parametrize("layer", ["type: 'ReLU6'", "type: 'ReLU' relu_param { relu6: true }"])
def test_relu6_is_cut_off_at_6(layer: str) -> None:
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0]).requires_grad_()
    (found,) = run(layer, x)
    assert found.tolist() == [0.0, 0.0, 3.0, 6.0, 6.0]
    found.sum().backward()
    assert x.grad is not None
    assert x.grad[[0, 2, 4]].tolist() == [0.0, 1.0, 0.0]


# RTPose


def cubic(values: list[float], d: float) -> float:
    a, b, c, e = values
    return (
        (-0.5 * a + 1.5 * b - 1.5 * c + 0.5 * e) * d**3 + (a - 2.5 * b + 2 * c - 0.5 * e) * d**2 + (c - a) / 2 * d + b
    )


def imresize_by_loops(x: np.ndarray, height: int, width: int, start: float, gap: float) -> np.ndarray:
    out = np.zeros((1, x.shape[1], height, width), np.float64)

    def places(index: int, out_size: int, size: int) -> tuple[list[int], float]:
        where = (index - (out_size / size / 2 - 0.5)) * size / out_size
        near = max(int(where + 1e-5), 0)
        second = min(near + 1, size - 1)
        return [max(near - 1, 0), near, second, min(second + 1, size - 1)], where - near

    for n, maps in enumerate(x):
        pads = [math.floor(size // 2 * (1 - start + n * gap)) for size in maps.shape[1:]]
        inner = maps[:, pads[0] : maps.shape[1] - pads[0], pads[1] : maps.shape[2] - pads[1]]
        for c, i, j in np.ndindex(len(maps), height, width):
            rows, dy = places(i, height, inner.shape[1])
            columns, dx = places(j, width, inner.shape[2])
            out[0, c, i, j] += cubic([cubic([inner[c, r, q] for q in columns], dx) for r in rows], dy) / len(x)
    return out.astype(np.float32)


def test_imresize_joins_scales_at_the_net_s_size() -> None:
    x = normal(2, 3, 8, 10)
    (found,) = run("type: 'ImResize' imresize_param { factor: 4 start_scale: 1 scale_gap: 0.5 }", x)
    assert relative_error(found, imresize_by_loops(x.numpy(), 32, 40, 1.0, 0.5)) <= SOME_STEPS
    fields = "target_spatial_height: 5 target_spatial_width: 7 start_scale: 0.75"
    (found,) = run(f"type: 'ImResize' imresize_param {{ {fields} }}", x[:1])
    assert relative_error(found, imresize_by_loops(x.numpy()[:1], 5, 7, 0.75, 0.1)) <= SOME_STEPS


def peaks_by_loops(x: np.ndarray, parts: int, most: int, threshold: float) -> np.ndarray:
    out = np.zeros((len(x), parts, most + 1, 3), np.float64)
    height, width = x.shape[2:]
    for n, c in np.ndindex(len(x), parts):
        count = 0
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                value = x[n, c, i, j]
                around = np.delete(x[n, c, i - 1 : i + 2, j - 1 : j + 2].reshape(-1), 4)
                if value > threshold and (value > around).all():
                    count += 1
                    if count <= most:
                        sums = np.zeros(3)
                        for a in range(i - 3, i + 4):
                            for b in range(j - 3, j + 4):
                                if 0 < a < min(width, height) and 0 < b < width and x[n, c, a, b] > 0:
                                    sums += x[n, c, a, b] * np.array([b, a, 1.0])
                        out[n, c, count] = [sums[0] / sums[2], sums[1] / sums[2], value]
        out[n, c, 0, 0] = count
    return out.astype(np.float32)


@pytest.mark.parametrize("size", [(12, 14), (15, 11)])
def test_peaks_are_listed_row_by_row(size: tuple[int, int]) -> None:
    x = normal(2, 4, *size)
    (found,) = run("type: 'Nms' nms_param { threshold: 0.3 num_parts: 3 max_peaks: 6 }", x)
    expected = peaks_by_loops(x.numpy(), 3, 6, 0.3)
    assert (expected[:, :, 0, 0] > 6).any(), "some map has more peaks than there is room for"
    assert relative_error(found, expected) <= SOME_STEPS


def test_maximum_tells_the_first_of_equal_places() -> None:
    x = torch.tensor([[[[0.0, -1.0, 2.0], [2.0, 1.0, 0.0]], [[-3.0, -2.0, -5.0], [-4.0, -2.0, -7.0]]]])
    (found,) = run("type: 'Maximum'", x)
    assert found.tolist() == [[[[2.0, 0.0, 2.0]], [[1.0, 0.0, -2.0]]]]


def test_switch_hands_on_its_last_bottom() -> None:
    a, b = normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_()
    (found,) = run("type: 'Switch'", a, b)
    assert torch.equal(found, b)
    found.sum().backward()
    assert a.grad is None
    assert b.grad is not None


# SENet


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1)])
def test_axpy_scales_channels_and_adds(shape: tuple[int, ...]) -> None:
    a, x, y = normal(*shape), normal(2, 3, 4, 5, seed=1), normal(2, 3, 4, 5, seed=2)
    (found,) = run("type: 'Axpy'", a, x, y)
    expected = np.zeros((2, 3, 4, 5), np.float32)
    for n, c, i, j in np.ndindex(2, 3, 4, 5):
        expected[n, c, i, j] = a.reshape(2, 3)[n, c] * x[n, c, i, j] + y[n, c, i, j]
    assert relative_error(found, expected) <= EXACT


# Forks' fields in upstream's layers


def pool_by_loops(
    x: np.ndarray, kind: str, k: int, s: int, begin: tuple[int, int], end: tuple[int, int], d: int, ceil: bool
) -> np.ndarray:
    sizes = []
    for size, before, after in zip(x.shape, begin, end, strict=True):
        room = size + before + after - (d * (k - 1) + 1)
        out = (math.ceil if ceil else math.floor)(room / s) + 1
        if any(begin + end) and (out - 1) * s >= size + before:
            out -= 1
        sizes.append(out)
    out_map = np.zeros(sizes, np.float32)
    for i, j in np.ndindex(*sizes):
        taps = [[start + t * d for t in range(k)] for start in (i * s - begin[0], j * s - begin[1])]
        counted = [[p for p in own if p < size + e] for own, size, e in zip(taps, x.shape, end, strict=True)]
        inside = [[p for p in own if 0 <= p < size] for own, size in zip(taps, x.shape, strict=True)]
        values = [x[a, b] for a in inside[0] for b in inside[1]]
        out_map[i, j] = max(values) if kind == "MAX" else sum(values) / (len(counted[0]) * len(counted[1]))
    return out_map


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("fields", "k", "s", "begin", "end", "d", "ceil"),
    [
        ("ceil_mode: false", 3, 2, (0, 0), (0, 0), 1, False),
        ("ceil_mode: true", 3, 2, (0, 0), (0, 0), 1, True),
        ("round_below: true", 3, 2, (0, 0), (0, 0), 1, False),
        ("ceil_mode: false round_mode: CEIL", 3, 2, (0, 0), (0, 0), 1, True),
        ("kstride: 2", 3, 1, (0, 0), (0, 0), 2, True),
        ("dilation: 3 pad: 2", 2, 2, (2, 2), (2, 2), 3, True),
        ("pad_t: 1 pad_l: 0 pad_b: 0 pad_r: 2", 3, 2, (1, 0), (0, 2), 1, True),
        ("pad_r: 1 pad_b: 1 ceil_mode: false", 2, 2, (0, 0), (1, 1), 1, False),
        ("pad_l: 1 kstride: 2", 3, 2, (0, 1), (0, 0), 2, True),
    ],
)
def test_a_poolings_fork_fields_have_their_meaning(
    kind: str, fields: str, k: int, s: int, begin: tuple[int, int], end: tuple[int, int], d: int, ceil: bool
) -> None:
    x = normal(1, 2, 8, 10)
    (found,) = run(f"type: 'Pooling' pooling_param {{ pool: {kind} kernel_size: {k} stride: {s} {fields} }}", x)
    expected = np.stack([pool_by_loops(channel, kind, k, s, begin, end, d, ceil) for channel in x[0].numpy()])[None]
    assert relative_error(found, expected) <= EXACT


def test_a_poolings_fork_fields_must_not_contradict() -> None:
    for fields, message in (("pad: 1 pad_l: 1", "gives pad beside"), ("kstride: 2 dilation: 2", "gives both kstride")):
        with pytest.raises(LayerError, match=message):
            layer_net(f"type: 'Pooling' pooling_param {{ kernel_size: 3 {fields} }}", (1, 2, 8, 8))


@pytest.mark.parametrize(("hole", "dilation"), [("hole: 2", "dilation: 2"), ("hole_h: 3", "dilation: 3 dilation: 1")])
def test_a_convolutions_holes_are_its_dilation(hole: str, dilation: str) -> None:
    x, weights = normal(1, 2, 9, 8), [normal(3, 2, 3, 3, seed=1), normal(3, seed=2)]
    layer = "type: 'Convolution' convolution_param {{ num_output: 3 kernel_size: 3 {} }}"
    first, second = (weighted(layer.format(name), [x.shape], weights)(x)["t0"] for name in (hole, dilation))
    assert torch.equal(first, second)


def test_batch_norm_adds_eps_to_the_deviation_where_a_fork_says_so() -> None:
    x, weights = normal(2, 3, 4, 5), [torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 0.5]), torch.ones(1)]
    layer = "type: 'BatchNorm' batch_norm_param { eps: 0.1 add_eps_before_sqrt: false }"
    mean, variance = (w.numpy().reshape(1, 3, 1, 1) for w in weights[:2])
    expected = (x.numpy() - mean) / (np.sqrt(variance) + 0.1)
    assert relative_error(weighted(layer, [x.shape], weights)(x)["t0"], expected) <= SOME_STEPS


@pytest.mark.parametrize("field", ["scale_bias: true", "scale_filler { value: 2 }"])
def test_nvidias_batch_norm_scales_and_keeps_averages(field: str) -> None:
    layer = f"type: 'BatchNorm' batch_norm_param {{ {field} moving_average_fraction: 0.75 eps: 1e-9 }}"
    x = normal(2, 3, 4, 5)
    mean, variance, scale, bias = (normal(3, seed=seed).abs() + 0.5 for seed in range(4))
    weights = [mean, variance, torch.ones(1), scale, bias]
    net = weighted(layer, [x.shape], weights)
    m, v, a, b = (w.numpy().reshape(1, 3, 1, 1) for w in (mean, variance, scale, bias))
    assert relative_error(net(x)["t0"], (x.numpy() - m) / np.sqrt(v + 1e-5) * a + b) <= SOME_STEPS
    assert [info.lr_mult for info in net.param_info()] == [0.0, 0.0, 0.0, 1.0, 1.0]
    net = weighted(layer, [x.shape], weights, phase="TRAIN")
    batches = [normal(2, 3, 4, 5, seed=seed) for seed in range(3)]
    for batch in batches:
        net(batch)
    means = [batch.numpy().mean((0, 2, 3)) for batch in batches]
    assert relative_error(net.params["l"][0], 0.75 * means[1] + 0.25 * means[2]) <= SOME_STEPS
    fresh = layer_net(layer, x.shape)
    assert [blob.tolist() for blob in fresh.params["l"]][2:4] == [[1.0], [2.0 if "filler" in field else 1.0] * 3]


# All of them


def test_fork_types_name_their_fork() -> None:
    forks = {kind for kind in supported_types() if LAYER_TYPES[kind].origin != "upstream"}
    assert forks == {
        "Axpy", "BN", "CPMData", "ConvolutionDepthwise", "DepthwiseConvolution", "DetectionOutput", "ImResize",
        "Interp", "Maximum", "Nms", "Normalize", "Permute", "PriorBox", "ROIPooling", "ReLU6", "SmoothL1Loss", "Switch",
        "Upsample",
    }  # fmt: skip


def test_forks_messages_survive_writing_and_reading(tmp_path: Path) -> None:
    text = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
        layer { name: "n" type: "Normalize" bottom: "x" top: "n" norm_param { channel_shared: false } }
        layer { name: "p" type: "Pooling" bottom: "n" top: "p" pooling_param { kernel_size: 2 ceil_mode: false } }
        layer { name: "r" type: "ImResize" bottom: "p" top: "r" imresize_param { factor: 8 } }"""
    net = load_net(parse_net(text))
    write_prototxt(tmp_path / "net.prototxt", net.spec)
    again = read_net(tmp_path / "net.prototxt")
    assert [layer.params for layer in again.layers] == [layer.params for layer in net.spec.layers]
    net.save(tmp_path / "net.caffemodel")
    binary = read_net(tmp_path / "net.caffemodel")
    assert [layer.params for layer in binary.layers] == [layer.params for layer in net.spec.layers]
    assert binary.notes == ()
