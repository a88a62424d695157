"""CaffeNet as an nn.Module: inputs, outputs, reshaping, phases, losses, and what torch does with modules."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

import cpm_port
from cpm_port.caffe import parse_net
from cpm_port.compute.devices import checked_device
from cpm_port.errors import DataError, LayerError, ShapeError, UnsupportedLayerError, UsageError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import TrainingData, architecture, deploy_text, train_text

CONV = 'convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }'
TINY = f"""
name: "tiny" input: "data" input_shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {CONV} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ kernel_size: 3 stride: 2 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
        inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }} }}
"""
DROPOUT = """
input: "data" input_shape { dim: 1 dim: 1000 }
layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" dropout_param { dropout_ratio: 0.25 } }
"""


def net_of(text: str, **options: object) -> CaffeNet:
    torch.manual_seed(0)
    phase = str(options.pop("phase", "TEST"))
    return load_net(parse_net(text, source="tiny.prototxt", phase=phase), **options)  # type: ignore[arg-type]


@pytest.fixture
def tiny() -> CaffeNet:
    return net_of(TINY)


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) - 0.5


def test_the_package_offers_the_front_door() -> None:
    assert cpm_port.load_net is load_net
    assert cpm_port.CaffeNet is CaffeNet


def test_a_net_says_what_it_is(tiny: CaffeNet) -> None:
    assert isinstance(tiny, torch.nn.Module)
    assert tiny.inputs == {"data": (1, 3, 8, 8)}
    assert tiny.outputs == ("fc",)
    assert [(layer.name, layer.type) for layer in tiny.layers] == [
        ("input", "Input"),
        ("conv", "Convolution"),
        ("relu", "ReLU"),
        ("pool", "Pooling"),
        ("fc", "InnerProduct"),
    ]
    assert tiny.blob_shapes == {"data": (1, 3, 8, 8), "conv": (1, 4, 8, 8), "pool": (1, 4, 4, 4), "fc": (1, 2)}
    assert {layer: [tuple(blob.shape) for blob in blobs] for layer, blobs in tiny.params.items()} == {
        "conv": [(4, 3, 3, 3), (4,)],
        "fc": [(2, 64), (2,)],
    }
    assert tiny.data_layers == ()


def test_a_bare_tensor_and_an_array_are_the_only_input(tiny: CaffeNet) -> None:
    data = image(1, 3, 8, 8)
    expected = tiny({"data": data})["fc"]
    assert torch.equal(tiny(data)["fc"], expected)
    assert torch.equal(tiny(data.numpy())["fc"], expected)
    assert torch.equal(tiny(data.double().numpy())["fc"], expected)


def test_read_only_arrays_are_taken(tiny: CaffeNet) -> None:
    data = image(1, 3, 8, 8).numpy()
    data.setflags(write=False)
    assert tiny(data)["fc"].shape == (1, 2)


def test_named_blobs_come_after_the_outputs_with_their_last_content(tiny: CaffeNet) -> None:
    data = image(1, 3, 8, 8)
    found = tiny(data, blobs=["pool", "conv", "data", "fc"])
    assert list(found) == ["fc", "pool", "conv", "data"]
    assert (found["conv"] >= 0).all(), "the in-place ReLU's output, not the convolution's"
    assert found["data"] is data


def test_another_batch_and_image_size_just_work() -> None:
    net = net_of(deploy_text(architecture("flic", width=4, box=(64, 64))))
    found = net(image(2, 4, 80, 104))
    assert found["Mconv5_stage4"].shape == (2, 10, 10, 13)
    assert net.blob_shapes["conv1_stage1"] == (2, 4, 80, 104)
    assert net(image(1, 4, 64, 64))["Mconv5_stage4"].shape == (1, 10, 8, 8)
    assert net.blob_shapes["conv1_stage1"] == (1, 4, 64, 64)


def test_a_changed_fan_in_is_an_error_that_names_the_layer(tiny: CaffeNet) -> None:
    message = r"'fc' \(InnerProduct\): bottom 'pool' is \(1, 4, 5, 4\): .* of shape \(2, 80\), the net has \(2, 64\)$"
    with pytest.raises(ShapeError, match=message):
        tiny(image(1, 3, 10, 8))
    assert tiny.blob_shapes["data"] == (1, 3, 8, 8)
    assert tiny(image(1, 3, 8, 8))["fc"].shape == (1, 2)


def test_wrong_channels_name_the_layer_and_the_input(tiny: CaffeNet) -> None:
    message = (
        r"layer 'conv' .* shape \(4, 5, 3, 3\), the net has \(4, 3, 3, 3\); "
        r"input 'data' is \(1, 5, 8, 8\), the net says \(1, 3, 8, 8\)$"
    )
    with pytest.raises(ShapeError, match=message):
        tiny(image(1, 5, 8, 8))


def test_a_wrong_number_of_axes_names_the_input(tiny: CaffeNet) -> None:
    with pytest.raises(ShapeError, match=r"input 'data' is \(3, 8, 8\), expected 4 axes as in \(1, 3, 8, 8\)"):
        tiny(image(3, 8, 8))


@pytest.mark.parametrize("data", [np.zeros((1, 3, 8, 8), np.uint8), torch.zeros(1, 3, 8, 8, dtype=torch.int64)])
def test_values_that_are_no_floats_are_refused(tiny: CaffeNet, data: Tensor) -> None:
    with pytest.raises(DataError, match=r"input 'data' holds .*int.*, expected floats"):
        tiny(data)


def test_tensors_of_another_precision_are_refused(tiny: CaffeNet) -> None:
    with pytest.raises(DataError, match=r"input 'data' is torch.float64, the net is torch.float32"):
        tiny(image(1, 3, 8, 8).double())
    assert tiny.double()(image(1, 3, 8, 8).double())["fc"].dtype == torch.float64


def test_missing_and_unknown_inputs_are_listed(tiny: CaffeNet) -> None:
    with pytest.raises(UsageError, match=r"inputs are \['data'\]; missing \['data'\], unknown \['image'\]"):
        tiny({"image": image(1, 3, 8, 8)})


def test_unknown_blobs_name_their_neighbours(tiny: CaffeNet) -> None:
    with pytest.raises(UsageError, match="no blob 'pol'; near: pool"):
        tiny(image(1, 3, 8, 8), blobs=["pol"])
    with pytest.raises(UsageError, match="blobs is the string 'pool', expected a list"):
        tiny(image(1, 3, 8, 8), blobs="pool")


def test_a_bare_tensor_for_two_inputs_is_refused() -> None:
    net = net_of("""
        layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }""")
    with pytest.raises(UsageError, match=r"a bare tensor for inputs \['a', 'b'\]"):
        net(image(1, 2))


def test_blobs_are_let_go_after_their_last_reader(tiny: CaffeNet) -> None:
    relus: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    relu, last = (tiny.get_submodule(name) for name in ("relu", "fc"))
    relu.register_forward_hook(lambda module, args, tops: relus.append(weakref.ref(tops[0])))
    last.register_forward_hook(lambda module, args, tops: alive.append(relus[-1]() is not None))
    with torch.no_grad():
        tiny(image(1, 3, 8, 8))
        tiny(image(1, 3, 8, 8), blobs=["conv"])
    assert alive == [False, True], "the pooling read it last"


def test_gradients_flow_to_inputs_and_parameters(tiny: CaffeNet) -> None:
    data = image(1, 3, 8, 8).requires_grad_()
    tiny(data)["fc"].square().sum().backward()
    assert data.grad is not None
    assert all(blob.grad is not None and blob.grad.abs().sum() > 0 for blobs in tiny.params.values() for blob in blobs)


def test_a_loaded_net_trains() -> None:
    net = net_of(
        TINY
        + """
        layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss" }""",
        phase="TRAIN",
    )
    batch = {"data": image(4, 3, 8, 8), "label": image(4, 2)}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    losses = []
    for _ in range(100):
        loss = net.total_loss(net(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_eval_and_train_turn_dropout_off_and_on_in_a_net_of_phase_train_and_change_nothing_in_one_of_test() -> None:
    data = torch.ones(1, 1000)
    torch.manual_seed(0)
    tested, trained = net_of(DROPOUT), net_of(DROPOUT, phase="TRAIN")
    for flag in (True, False, True):
        assert torch.equal(tested.train(flag)(data)["drop"], data)
        dropped = trained.train(flag)(data)["drop"]
        if flag:
            assert torch.equal(dropped.unique(), torch.tensor([0, 1 / 0.75]))
            assert 180 < int((dropped == 0).sum()) < 320
        else:
            assert torch.equal(dropped, data)


NORM = """
input: "x" input_shape { dim: 4 dim: 2 dim: 3 dim: 3 }
layer { name: "n" type: "BatchNorm" bottom: "x" top: "n" }
"""


def test_batch_norm_of_phase_train_stops_learning_in_eval_and_uses_what_it_learned() -> None:
    net = net_of(NORM, phase="TRAIN")
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 3 + 5
    net(x)
    learned = [blob.clone() for blob in net.params["n"]]
    assert learned[2] == 1
    found = net.eval()(x)["n"]
    assert all(torch.equal(one, other) for one, other in zip(learned, net.params["n"], strict=True))
    mean, variance = (blob.detach().view(1, 2, 1, 1) for blob in learned[:2])
    torch.testing.assert_close(found, (x - mean) / torch.sqrt(variance + 1e-5))
    assert net.train()(x)["n"].mean().abs() < 1e-5
    assert net.params["n"][2] > 1


def test_a_layers_own_phase_holds_until_eval_is_called() -> None:
    net = net_of(DROPOUT.replace('type: "Dropout"', 'type: "Dropout" phase: TRAIN'))
    assert not net.training
    assert (net(torch.ones(1, 1000))["drop"] == 0).any()
    assert not (net.eval()(torch.ones(1, 1000))["drop"] == 0).any()


def test_a_net_of_a_phase_carries_torchs_flag_of_that_phase() -> None:
    assert not net_of(DROPOUT).training
    assert net_of(DROPOUT, phase="TRAIN").training


def test_losses_add_up_with_their_weights() -> None:
    net = net_of("""
        layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "l1" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "l1" loss_weight: 0.5 }
        layer { name: "l2" type: "EuclideanLoss" bottom: "b" bottom: "a" top: "l2" }
        layer { name: "l3" type: "Power" bottom: "a" top: "l3" loss_weight: 2 power_param { scale: 3 } }""")
    a, b = image(2, 3), image(2, 3) + 1
    outputs = net({"a": a, "b": b})
    euclidean = (a - b).square().sum() / 4
    assert net.loss_weights == {"l1": 0.5, "l2": 1.0, "l3": 2.0}
    assert float(net.total_loss(outputs)) == pytest.approx(float(1.5 * euclidean + 2 * (3 * a).sum()), rel=1e-5)
    with pytest.raises(UsageError, match=r"outputs lack the loss blobs \['l2'\]"):
        net.total_loss({"l1": outputs["l1"], "l3": outputs["l3"]})


def test_losses_that_are_no_outputs_count_too() -> None:
    net = net_of("""
        layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "b" }
        layer { name: "scaled" type: "Power" bottom: "a" top: "scaled" loss_weight: 2 }
        layer { name: "end" type: "Silence" bottom: "scaled" }""")
    a, b = image(2, 3), image(2, 3) + 1
    outputs = net({"a": a, "b": b})
    assert net.outputs == ()
    assert list(outputs) == ["(automatic) loss", "scaled"]
    assert net.total_loss(outputs).item() == pytest.approx(((a - b).square().sum() / 4 + 2 * a.sum()).item(), rel=1e-5)


def test_a_net_without_a_loss_says_so(tiny: CaffeNet) -> None:
    with pytest.raises(UsageError, match=r"tiny.prototxt: no loss"):
        tiny.total_loss(tiny(image(1, 3, 8, 8)))


def test_propagate_down_false_stops_the_gradient() -> None:
    net = net_of("""
        layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum"
                propagate_down: true propagate_down: false }""")
    a, b = image(2, 3).requires_grad_(), image(2, 3).requires_grad_()
    net({"a": a, "b": b})["sum"].sum().backward()
    assert a.grad is not None
    assert b.grad is None


def test_the_tops_of_data_layers_are_inputs() -> None:
    arch = architecture("flic", width=4, box=(64, 80))
    net = net_of(train_text(arch, TrainingData(batch_size=2)), phase="TRAIN")
    assert net.inputs == {"data": (2, 4, 64, 80), "label": (2, 20, 8, 10)}
    assert [layer.type for layer in net.data_layers] == ["CPMData"]
    outputs = net({"data": image(2, 4, 64, 80), "label": image(2, 20, 8, 10)})
    assert list(outputs) == [f"loss_stage{stage}" for stage in range(1, 5)]
    net.total_loss(outputs).backward()
    assert all(info.tensor.grad is not None for info in net.param_info())


def test_shapes_that_lie_in_the_data_must_be_given() -> None:
    text = """
        layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "x" batch_size: 2 } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "label" top: "loss" }"""
    with pytest.raises(LayerError, match=r"'data' \(HDF5Data\).* input_shapes"):
        net_of(text)
    shapes = {"data": (2, 3), "label": (2, 3)}
    assert net_of(text, input_shapes=shapes).inputs == shapes
    with pytest.raises(UsageError, match=r"input_shapes names \['other'\]; the net's inputs are \['data', 'label'\]"):
        net_of(text, input_shapes={**shapes, "other": (1,)})


def test_all_unsupported_layers_are_listed_at_once() -> None:
    text = (
        TINY
        + """
        layer { name: "script" type: "Script" bottom: "fc" top: "script" }
        layer { name: "odd" type: "Pooling" bottom: "pool" top: "odd" pooling_param { pool: STOCHASTIC } }
        layer { name: "mine" type: "MyLayer" bottom: "script" top: "mine" }"""
    )
    with pytest.raises(UnsupportedLayerError) as caught:
        net_of(text)
    lines = str(caught.value).splitlines()
    assert lines == [
        "tiny.prototxt: 3 unsupported layer(s)",
        "  layer 'script': type 'Script': unknown type",
        "  layer 'odd': type 'Pooling': STOCHASTIC pooling",
        "  layer 'mine': type 'MyLayer': unknown type",
    ]


def test_layers_without_parameters_may_share_a_name_and_others_not() -> None:
    twice = TINY + 'layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }'
    assert (net_of(twice)(image(1, 3, 8, 8))["fc"] >= 0).all()
    with pytest.raises(LayerError, match="two layers with parameters are named 'conv'"):
        net_of(TINY + f'layer {{ name: "conv" type: "Convolution" bottom: "conv" top: "again" {CONV} }}')


@pytest.mark.parametrize("name", ["res2.0/conv", "train", "spec", "50%"])
def test_any_layer_name_works_as_a_module_name(name: str) -> None:
    net = net_of(TINY.replace('name: "conv"', f'name: "{name}"'))
    assert list(net.params) == [name, "fc"]
    assert net(image(1, 3, 8, 8))["fc"].shape == (1, 2)
    other = net_of(TINY.replace('name: "conv"', f'name: "{name}"'))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.params[name][0], net.params[name][0])


def test_a_copy_is_independent_and_keeps_sharing() -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    net = net_of(f"""
        input: "data" input_shape {{ dim: 1 dim: 4 dim: 5 dim: 5 }}
        layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1" {shared} {CONV} }}
        layer {{ name: "c2" type: "Convolution" bottom: "c1" top: "c2" {shared} {CONV} }}""")
    data = image(1, 4, 5, 5)
    before = net(data)["c2"]
    twin = copy.deepcopy(net)
    assert torch.equal(twin(data)["c2"], before)
    assert twin.params["c1"][0] is twin.params["c2"][0]
    assert twin.param_info()[0].tensor is twin.params["c1"][0]
    with torch.no_grad():
        twin.params["c1"][0].zero_()
    assert torch.equal(net(data)["c2"], before)
    assert len(list(twin.parameters())) == 2


def test_a_net_moves_with_its_shared_parameters() -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    net = net_of(f"""
        input: "data" input_shape {{ dim: 1 dim: 4 dim: 5 dim: 5 }}
        layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1" {shared} {CONV} }}
        layer {{ name: "c2" type: "Convolution" bottom: "c1" top: "c2" {shared} {CONV} }}""").double()
    assert net.params["c1"][0] is net.params["c2"][0]
    assert net.param_info()[0].tensor is net.params["c1"][0]


def test_a_net_compiles_in_one_graph(tiny: CaffeNet) -> None:
    compiled = torch.compile(tiny, backend="eager", fullgraph=True)
    data = image(2, 3, 8, 8)
    assert torch.equal(compiled(data)["fc"], tiny(data)["fc"])


def test_a_net_exports_with_a_dynamic_batch() -> None:
    net = net_of(deploy_text(architecture("flic", width=4, stages=2, box=(64, 64))))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (image(2, 4, 64, 64),), dynamic_shapes={"inputs": {0: batch}})
    data = image(3, 4, 64, 64)
    found, expected = program.module()(data)["Mconv5_stage2"], net(data)["Mconv5_stage2"]
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_net_runs_under_autocast(tiny: CaffeNet) -> None:
    data = image(1, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = tiny(data)["fc"]
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), tiny(data)["fc"], atol=0.02)


@pytest.mark.gpu
def test_a_net_on_a_gpu_gives_what_the_cpu_gives(tiny: CaffeNet) -> None:
    data = image(2, 3, 8, 8)
    expected = tiny(data)["fc"]
    on_gpu = copy.deepcopy(tiny).to(checked_device("cuda"))  # from here on without TF32
    assert torch.allclose(on_gpu(data.numpy())["fc"].cpu(), expected, atol=1e-5)
    with pytest.raises(DataError, match="input 'data' is on cpu, the net on cuda"):
        on_gpu(data)


@pytest.mark.parametrize("text", [TINY, deploy_text(architecture("flic", stages=2, width=4, box=(64, 64)))])
def test_a_net_is_traced_by_fx_layer_by_layer(text: str) -> None:
    net = net_of(text)
    traced = torch.fx.symbolic_trace(net)
    data = image(2, *next(iter(net.inputs.values()))[1:])
    for name, blob in net(data).items():
        assert torch.equal(traced(data)[name], blob)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert called == [step.key for step in net.steps]


def test_a_net_of_several_inputs_is_traced_by_their_names() -> None:
    text = """
    input: "a" input_shape { dim: 1 dim: 2 } input: "b" input_shape { dim: 1 dim: 2 }
    layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "c" }
    """
    traced = torch.fx.symbolic_trace(net_of(text))
    inputs = {"a": image(3, 2), "b": image(3, 2) + 1}
    assert torch.equal(traced(inputs)["c"], inputs["a"] + inputs["b"])


def test_a_net_on_the_meta_device_has_shapes_and_no_values() -> None:
    with torch.device("meta"):
        net = net_of(TINY)
        found = net(torch.empty(2, 3, 8, 8))
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
    assert {name: tuple(blob.shape) for name, blob in found.items()} == {"fc": (2, 2)}


def test_a_net_prints_its_layers_with_their_numbers(tiny: CaffeNet) -> None:
    assert repr(tiny) == (
        "CaffeNet(\n"
        "  tiny: data 1x3x8x8 -> fc 1x2; 242 parameters\n"
        "  (conv): Convolution(data -> conv; num_output 4, pad 1, kernel_size 3; parameters 4x3x3x3, 4)\n"
        "  (relu): ReLU(conv -> conv)\n"
        "  (pool): Pooling(conv -> pool; kernel_size 3, stride 2)\n"
        "  (fc): InnerProduct(pool -> fc; num_output 2; parameters 2x64, 2)\n"
        ")"
    )


def test_the_shape_of_images_tells_that_of_their_labels() -> None:
    text = """
    layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 4 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "loss" }
    """
    assert net_of(text, input_shapes={"data": (4, 3)}).inputs == {"data": (4, 3), "label": (4,)}
