"""Shapes of blobs and parameters are real Caffe's. Oracles: Caffe's own runs, and cases worked by hand."""

import json
import math

import pytest

from cpm_port.caffe import (
    infer_shapes,
    layer_flops,
    layer_shapes,
    param_shapes,
    parse_net,
    read_net,
    read_weights,
    spatial_window,
)
from cpm_port.errors import LayerError, UnsupportedLayerError
from cpm_port.graph import load_net
from tests.caffe.support import LAYER_CASES, LAYERS, SOLVER, shared_files

INDEX = json.loads((LAYERS / "index.json").read_text())


def layer_of(text: str, bottoms: int = 1, tops: int = 1):
    """Parse one layer with that many bottoms and tops."""
    inputs = "".join(f"input: 'x{i}' " for i in range(bottoms))
    ends = "".join(f"bottom: 'x{i}' " for i in range(bottoms)) + "".join(f"top: 'y{i}' " for i in range(tops))
    return parse_net(f"{inputs} layer {{ name: 'it' {ends} {text} }}").layers[-1]


@pytest.mark.parametrize("case", LAYER_CASES)
def test_blobs_have_the_shapes_that_real_caffe_gave_them(case):
    expected = INDEX[case]
    net = read_net(LAYERS / f"{case}.prototxt", phase=expected["phase"])
    given = {name: expected["blobs"][name] for name in expected["inputs"] if net.inputs.get(name, ()) == ()}
    found = infer_shapes(net, given)
    assert found == {name: tuple(shape) for name, shape in expected["blobs"].items() if "_split_" not in name}


@pytest.mark.parametrize("case", [case for case in LAYER_CASES if (LAYERS / f"{case}.caffemodel").is_file()])
def test_parameters_have_the_shapes_that_real_caffe_saved(case):
    net = read_net(LAYERS / f"{case}.prototxt", phase=INDEX[case]["phase"])
    shapes = infer_shapes(net)
    weights = read_weights(LAYERS / f"{case}.caffemodel")
    for layer in net.layers:
        expected = [array.shape for array in weights.get(layer.name, ())]
        assert param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms]) == expected


def windows_by_counting(size, kernel, stride, pad):
    """Count windows one by one: each but the first is there if the one before it left something to see."""
    ends = size + 2 * pad
    starts = [start for start in range(0, ends + stride, stride) if start == 0 or start - stride + kernel < ends]
    return len([start for start in starts if start < size + pad] if pad else starts)


def pooled(size, kernel, stride, pad):
    layer = layer_of(f"type: 'Pooling' pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }}")
    ((_, _, height, width),) = layer_shapes(layer, [(1, 1, size, size)])
    assert height == width == windows_by_counting(size, kernel, stride, pad)
    return height


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 2, 2), (9, 2, 2), (46, 3, 2), (5, 5, 3), (368, 3, 2)])
def test_pooling_rounds_up(size, kernel, stride):
    assert pooled(size, kernel, stride, 0) == math.ceil((size - kernel) / stride) + 1


@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), [(9, 2, 2, 1), (4, 2, 3, 1), (5, 3, 3, 1), (46, 3, 2, 2)])
def test_padded_pooling_drops_a_last_window_that_starts_in_the_padding(size, kernel, stride, pad):
    assert pooled(size, kernel, stride, pad) == math.ceil((size + 2 * pad - kernel) / stride)


@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), [(1, 3, 1, 1), (8, 3, 2, 1), (184, 5, 2, 2)])
def test_padded_pooling_keeps_a_last_window_that_starts_on_the_map(size, kernel, stride, pad):
    assert pooled(size, kernel, stride, pad) == math.ceil((size + 2 * pad - kernel) / stride) + 1


@pytest.mark.parametrize(("size", "kernel", "stride"), [(4, 1, 2), (9, 2, 3), (8, 2, 4)])
def test_unpadded_pooling_keeps_a_window_behind_the_map(size, kernel, stride):
    assert (pooled(size, kernel, stride, 0) - 1) * stride >= size


def test_the_paper_nets_resolution_halves_exactly():
    layer = layer_of("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 }")
    sizes = [368]
    for _ in range(3):
        sizes.append(layer_shapes(layer, [(1, 1, sizes[-1], sizes[-1])])[0][2])
    assert sizes == [368, 184, 92, 46]


def test_pooling_can_round_down():
    layer = layer_of("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }")
    assert layer_shapes(layer, [(1, 1, 368, 368)]) == [(1, 1, 183, 183)]


def test_max_pooling_may_have_a_mask_top():
    layer = layer_of("type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }", tops=2)
    assert layer_shapes(layer, [(1, 3, 4, 6)]) == [(1, 3, 2, 3)] * 2


@pytest.mark.parametrize(
    ("text", "bottoms", "what"),
    [
        (
            "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 5 }",
            [(1, 3, 4, 9)],
            "too small for kernel",
        ),
        ("type: 'Convolution' convolution_param { kernel_size: 3 }", [(1, 3, 9, 9)], "num_output 0"),
        ("type: 'Convolution' convolution_param { num_output: 4 }", [(1, 3, 9, 9)], "gives kernel_size 0 times"),
        ("type: 'Convolution' convolution_param { num_output: 4 kernel_size: 0 }", [(1, 3, 9, 9)], "kernel_size is"),
        (
            "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 group: 2 }",
            [(1, 3, 9, 9)],
            "multiples of group 2",
        ),
        (
            "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 kernel_h: 3 }",
            [(1, 3, 9, 9)],
            "gives both",
        ),
        ("type: 'Convolution' convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 }", [(1, 3, 9)], "are for two"),
        ("type: 'Convolution' convolution_param { num_output: 4 kernel_size: [3, 3, 3] }", [(1, 3, 9, 9)], "3 times"),
        ("type: 'Pooling' pooling_param { kernel_size: 3 }", [(1, 3, 9)], "expected 4 axes"),
        ("type: 'Pooling' pooling_param { kernel_size: 3 pad: 3 }", [(1, 3, 9, 9)], "is not smaller than kernel"),
        ("type: 'Pooling' pooling_param { }", [(1, 3, 9, 9)], "either kernel_size, or"),
        (
            "type: 'Pooling' pooling_param { kernel_size: 3 kernel_h: 3 kernel_w: 3 }",
            [(1, 3, 9, 9)],
            "either kernel_size, or",
        ),
        ("type: 'Pooling' pooling_param { kernel_size: 3 stride_h: 3 }", [(1, 3, 9, 9)], "expected both of them"),
        (
            "type: 'Pooling' pooling_param { global_pooling: true kernel_size: 3 }",
            [(1, 3, 9, 9)],
            "expected none of them",
        ),
        ("type: 'Concat' concat_param { axis: 1 concat_dim: 1 }", [(1, 2), (1, 2)], "gives both axis and concat_dim"),
        ("type: 'Concat'", [(1, 2), (2, 2)], "differ outside axis 1"),
        ("type: 'Slice' slice_param { slice_point: 5 slice_point: 2 }", [(1, 9)], "slice points"),
        ("type: 'Eltwise'", [(1, 2), (1, 3)], "expected two or more of one shape"),
        ("type: 'Eltwise' eltwise_param { coeff: 1 }", [(1, 2), (1, 2)], "1 coefficients for 2 bottoms"),
        ("type: 'Reshape' reshape_param { shape { dim: 0 dim: 7 } }", [(2, 3)], "has 6 values"),
        ("type: 'Reshape' reshape_param { shape { dim: -1 dim: -1 } }", [(2, 3)], "at most one -1"),
        ("type: 'Reshape' reshape_param { shape { dim: -1 dim: 4 } }", [(2, 3)], "does not fill"),
        ("type: 'Flatten' flatten_param { axis: 2 end_axis: 1 }", [(2, 3, 4)], "lies behind"),
        ("type: 'InnerProduct' inner_product_param { num_output: 2 axis: 4 }", [(2, 3)], "axis 4 of a bottom"),
        ("type: 'Crop'", [(1, 3, 4, 4), (1, 3, 5, 5)], "do not lie in"),
        ("type: 'Tile' tile_param { tiles: 0 }", [(1, 2)], "expected at least 1"),
        ("type: 'Tile' tile_param { tiles: 2000000000 }", [(1, 2)], "Caffe's limits"),
        ("type: 'Accuracy'", [(4, 3), (5,)], "expected 4 labels"),
        ("type: 'EuclideanLoss'", [(4, 3), (4, 2)], "same number of values"),
        ("type: 'SPP' spp_param { pyramid_height: 4000000000 }", [(1, 2, 8, 8)], "pyramid_height"),
        ("type: 'ReLU'", [(1, 2), (1, 2)], "has 2 bottoms; expected 1"),
        ("type: 'Scale'", [(1, 2, 3), (4,)], "does not fit"),
        ("type: 'BatchReindex'", [(3, 2), (4, 1)], "expected one axis"),
        ("type: 'Softmax' softmax_param { axis: 2 }", [(3, 2)], "axis 2 of a bottom"),
        ("type: 'SoftmaxWithLoss'", [(3,), (1,)], "axis 1 of a bottom"),
        ("type: 'LRN'", [(3, 2, 4)], "expected 4 axes"),
        ("type: 'ArgMax' argmax_param { top_k: 7 }", [(2, 3, 2)], "top_k is 7 of 6 values"),
        ("type: 'ArgMax' argmax_param { top_k: 0 axis: 1 }", [(2, 3)], "top_k is 0 of 3 values"),
        ("type: 'EuclideanLoss'", [(), ()], "axis 0 of a bottom"),
        ("type: 'EuclideanLoss'", [(2, 3), (2, 3), (2,)], "has 3 bottoms; expected 2"),
        ("type: 'SigmoidCrossEntropyLoss'", [(2, 3), (2, 3), (2,)], "has 3 bottoms; expected 2"),
        ("type: 'ContrastiveLoss'", [(2, 3), (2, 3)], "has 2 bottoms; expected 3"),
        ("type: 'Parameter' parameter_param { shape { dim: 2 } }", [(2,)], "has 1 bottoms; expected 0"),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_layer_name(text, bottoms, what):
    layer = layer_of(text, len(bottoms))
    with pytest.raises(LayerError, match=f"layer 'it'.*{what}"):
        layer_shapes(layer, bottoms)


def test_slices_without_points_are_equal_or_refused():
    layer = layer_of("type: 'Slice'", tops=2)
    assert layer_shapes(layer, [(1, 6)]) == [(1, 3)] * 2
    with pytest.raises(LayerError, match="3 values on axis 1 do not divide into 2 tops"):
        layer_shapes(layer, [(1, 3)])


@pytest.mark.parametrize(
    ("text", "bottoms", "tops", "expected"),
    [
        ("type: 'ReLU'", [(1, 2)], 2, 1),
        ("type: 'EuclideanLoss'", [(1, 2)] * 2, 2, 1),
        ("type: 'SoftmaxWithLoss'", [(1, 2), (1,)], 3, 2),
        ("type: 'Pooling' pooling_param { kernel_size: 2 }", [(1, 2, 4, 4)], 3, 2),
        ("type: 'Pooling' pooling_param { kernel_size: 2 }", [(1, 2, 4, 4)], 0, 1),
    ],
)
def test_a_wrong_number_of_tops_is_refused(text, bottoms, tops, expected):
    with pytest.raises(LayerError, match=rf"layer 'it' \(\w+\) has {tops} tops; expected {expected}"):
        layer_shapes(layer_of(text, len(bottoms), tops), bottoms)


def test_unknown_types_are_listed_all_at_once():
    net = parse_net(
        "input: 'x' input_shape { dim: 1 } layer { name: 'a' type: 'Warp' bottom: 'x' top: 'y' }"
        "layer { name: 'b' type: 'Weft' bottom: 'y' top: 'z' }"
    )
    with pytest.raises(UnsupportedLayerError, match=r"'a' \(Warp\), 'b' \(Weft\)"):
        infer_shapes(net)
    with pytest.raises(UnsupportedLayerError, match="'Warp'"):
        layer_shapes(net.layers[1], [(1,)])


def test_given_shapes_replace_declared_ones():
    net = parse_net("input: 'x' input_shape { dim: 1 dim: 3 } layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'x' }")
    assert infer_shapes(net) == {"x": (1, 3)}
    assert infer_shapes(net, {"x": [5, 7]}) == {"x": (5, 7)}
    with pytest.raises(LayerError, match="no inputs 'y'; the inputs are x"):
        infer_shapes(net, {"y": (1,)})


def test_an_input_without_a_shape_asks_for_one():
    with pytest.raises(LayerError, match="declares no shape; give it in input_shapes"):
        infer_shapes(parse_net("input: 'x' layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }"))


def test_data_layers_ask_for_the_shapes_that_lie_in_their_source():
    net = read_net(SOLVER / "train.prototxt", phase="TRAIN")
    with pytest.raises(LayerError, match=r"layer 'data' \(HDF5Data\): its shapes lie in its data source"):
        infer_shapes(net)
    shapes = infer_shapes(net, {"data": (2, 4, 11, 12), "label": (2, 3, 5, 6)})
    assert shapes["conv2"] == (2, 3, 5, 6)
    assert shapes["loss"] == ()


def test_the_forks_data_layer_shapes_come_from_its_parameters():
    net = parse_net(
        "layer { name: 'd' type: 'CPMData' top: 'data' top: 'label' cpmdata_param { batch_size: 8 }"
        "transform_param { stride: 8 crop_size_x: 184 crop_size_y: 368 num_parts: 14 } }"
    )
    assert infer_shapes(net) == {"data": (8, 4, 368, 184), "label": (8, 30, 46, 23)}


@pytest.mark.parametrize(
    ("kind", "fields", "bottom", "window"),
    [
        ("Convolution", "kernel_size: 9 pad: 4", (1, 3, 9, 9), ((9, 9), (1, 1), (4, 4), (1, 1))),
        (
            "Convolution",
            "kernel_h: 3 kernel_w: 5 stride: 2 dilation: [1, 2]",
            (1, 3, 9, 9),
            ((3, 5), (2, 2), (0, 0), (1, 2)),
        ),
        ("Pooling", "kernel_size: 9 stride: 8", (1, 1, 368, 368), ((9, 9), (8, 8), (0, 0), (1, 1))),
        ("Pooling", "global_pooling: true", (1, 1, 5, 7), ((5, 7), (1, 1), (0, 0), (1, 1))),
    ],
)
def test_windows_are_given_per_axis(kind, fields, bottom, window):
    layer = layer_of(f"type: '{kind}' {kind.lower()}_param {{ {fields} }}")
    assert spatial_window(layer, bottom) == window


@pytest.mark.parametrize(
    ("kind", "fields", "bottom", "flops"),
    [
        ("Convolution", "num_output: 4 kernel_size: 3 pad: 1", (2, 5, 6, 7), 2 * (4 * 6 * 7) * (2 * 5 * 9 + 1)),
        ("Convolution", "num_output: 4 kernel_size: 3 group: 2 bias_term: false", (1, 6, 5, 5), 4 * 9 * 2 * 3 * 9),
        ("Deconvolution", "num_output: 4 kernel_size: 2 stride: 2", (1, 3, 5, 5), 25 * 2 * 3 * 4 * 4 + 400),
        ("InnerProduct", "num_output: 10", (3, 4, 5), 3 * 10 * (2 * 20 + 1)),
        ("Pooling", "kernel_size: 2", (1, 1, 4, 4), 0),
    ],
)
def test_flops_count_products_sums_and_biases(kind, fields, bottom, flops):
    message = {"InnerProduct": "inner_product", "Pooling": "pooling"}.get(kind, "convolution")
    layer = layer_of(f"type: '{kind}' {message}_param {{ {fields} }}")
    assert layer_flops(layer, [bottom]) == flops


@pytest.mark.parametrize("path", shared_files("release/prototxt/*.prototxt"), ids=lambda path: path.name)
def test_the_released_nets_give_maps_at_an_eighth(path):
    net = read_net(path)
    shapes = infer_shapes(net)
    (data,), (maps,) = net.inputs.values(), (shapes[name] for name in net.outputs)
    assert maps[2:] == (data[2] // 8, data[3] // 8)


@pytest.mark.parametrize("path", shared_files("release/prototxt/mpi_pose*.prototxt"), ids=lambda path: path.name)
def test_the_official_model_is_as_large_as_its_file(path):
    net = read_net(path)
    shapes = infer_shapes(net)
    params = [shape for layer in net.layers for shape in param_shapes(layer, [shapes[b] for b in layer.bottoms])]
    assert len(params) == 80
    assert 4 * sum(map(math.prod, params)) == pytest.approx(125e6, rel=0.005)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ('type: "ArgMax" argmax_param { top_k: 2 }', ()),
        ('type: "Convolution" convolution_param { num_output: 1 kernel_size: 1 }', None),
        ('type: "Im2col" convolution_param { kernel_size: 1 }', None),
        ('type: "Pooling" pooling_param { kernel_size: 2 }', (4,)),
        ('type: "Concat"', None),
        ('type: "InnerProduct" inner_product_param { num_output: 2 axis: 3 }', (1, 2)),
    ],
)
def test_bottoms_that_a_type_cannot_take_are_an_error_that_names_the_layer(layer: str, shape: tuple | None) -> None:
    bottom = "" if shape is None else 'bottom: "x"'
    net = parse_net(f'layer {{ name: "x" type: "Input" top: "x" }} layer {{ name: "odd" {bottom} top: "y" {layer} }}')
    with pytest.raises(LayerError, match="layer 'odd'"):
        infer_shapes(net, {"x": () if shape is None else shape})
    with pytest.raises(LayerError, match="layer 'odd'"):
        load_net(net, input_shapes={"x": () if shape is None else shape})
