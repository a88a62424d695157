"""The loss of a batch: Caffe's formula, masked, bfloat16, recomputed, compiled. Oracle: the plain float32 pass."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.errors import ShapeError, TrainingError, UsageError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import TrainingData, architecture, train_text
from cpm_port.training.loss import masked_euclidean_loss
from cpm_port.training.objective import Objective
from tests.training.support import golden_arrays, golden_net


def _narrow_cpm(*, dropout: bool) -> tuple[CaffeNet, dict[str, torch.Tensor]]:
    """Return a CPM of three stages and a batch for it."""
    text = train_text(architecture("mpi", stages=3, width=8, box=(64, 64)), TrainingData(batch_size=2))
    if dropout:
        text = text.replace(
            'name: "Mconv1_stage2"\n  type: "Convolution"\n  bottom: "concat_stage2"',
            'name: "drop"\n  type: "Dropout"\n  bottom: "concat_stage2"\n  top: "dropped"\n}\nlayer {\n  '
            'name: "Mconv1_stage2"\n  type: "Convolution"\n  bottom: "dropped"',
        )
        assert "dropped" in text
    torch.manual_seed(3)
    net = load_net(parse_net(text.replace("std: 0.01", "std: 0.05"), phase="TRAIN"))
    return net, {name: torch.randn(shape) for name, shape in net.inputs.items()}


@pytest.fixture(scope="module")
def cpm() -> tuple[CaffeNet, dict[str, torch.Tensor]]:
    return _narrow_cpm(dropout=False)


def _losses_and_gradients(objective: Objective, net: CaffeNet, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    net.zero_grad(set_to_none=True)
    torch.manual_seed(11)
    losses = objective(batch)
    losses.sum().backward()
    return [losses.detach(), *(info.tensor.grad for info in net.param_info() if info.tensor.grad is not None)]


def test_the_loss_is_half_the_squared_sum_over_the_batch() -> None:
    """By hand: (1 + 4 + 9 + 16) / (2 * 2)."""
    prediction, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 2)
    assert masked_euclidean_loss(prediction, target).item() == 7.5


def test_masked_loss_leaves_nan_cells_out_of_loss_and_gradient() -> None:
    prediction = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([[0.0, torch.nan], [torch.nan, 0.0]])
    loss = masked_euclidean_loss(prediction, target)
    loss.backward()
    assert loss.item() == (1 + 16) / 4
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [[0.5, 0.0], [0.0, 2.0]]


def test_the_loss_broadcasts_nothing() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\), target \(1, 3\)"):
        masked_euclidean_loss(torch.zeros(2, 3), torch.zeros(1, 3))


def test_the_masked_objective_ignores_what_is_unlabelled() -> None:
    """A net whose label is NaN in half the cells learns as from a net that predicts those cells exactly."""
    net = golden_net()
    batch = {name: torch.from_numpy(array[:2]) for name, array in golden_arrays().items()}
    plain = _losses_and_gradients(Objective(net), net, batch)
    masked = _losses_and_gradients(Objective(net, masked=True), net, batch)
    torch.testing.assert_close(plain, masked)
    holes = torch.rand(batch["label"].shape) < 0.5
    with torch.no_grad():
        prediction = net(batch, blobs=["conv2"])["conv2"]
    filled = {**batch, "label": torch.where(holes, prediction, batch["label"])}
    expected = _losses_and_gradients(Objective(net), net, filled)
    holed = {**batch, "label": batch["label"].masked_fill(holes, torch.nan)}
    found = _losses_and_gradients(Objective(net, masked=True), net, holed)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_recomputing_changes_neither_losses_nor_gradients_nor_dropout() -> None:
    net, batch = _narrow_cpm(dropout=True)
    plain = _losses_and_gradients(Objective(net), net, batch)
    recomputed = _losses_and_gradients(Objective(net, recompute=True), net, batch)
    assert len(plain) == len(recomputed) == 1 + len(net.param_info())
    for a, b in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_recomputing_keeps_fewer_activations(cpm: tuple[CaffeNet, dict[str, torch.Tensor]]) -> None:
    net, batch = cpm
    kept = {}
    for recompute in (False, True):
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = Objective(net, recompute=recompute)(batch)
        kept[recompute] = sum(sizes.values())
        del losses
    assert kept[True] < kept[False] / 2


def test_bfloat16_keeps_float32_losses_close_to_exact_ones(cpm: tuple[CaffeNet, dict[str, torch.Tensor]]) -> None:
    net, batch = cpm
    exact = _losses_and_gradients(Objective(net), net, batch)
    rough = _losses_and_gradients(Objective(net, bfloat16=True), net, batch)
    assert all(t.dtype == torch.float32 for t in rough)
    np.testing.assert_allclose(rough[0], exact[0], rtol=0.02)
    assert not torch.equal(rough[0], exact[0])


def test_compiling_changes_neither_losses_nor_gradients(
    cpm: tuple[CaffeNet, dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the compiler's last step left out, which would take a minute: what is traced is what would be compiled."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    net, batch = cpm
    plain = _losses_and_gradients(Objective(net), net, batch)
    traced = _losses_and_gradients(Objective(net, compiled=True), net, batch)
    torch.testing.assert_close(plain, traced, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("when", ["asked for", "first called"])
def test_where_nothing_can_be_compiled_that_is_said(
    when: str, cpm: tuple[CaffeNet, dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nis here\n\nand more")

    plain = functools.partial(torch.compile, backend=refuse)
    monkeypatch.setattr(torch, "compile", refuse if when == "asked for" else plain)
    net, batch = cpm
    with pytest.raises(UsageError, match=r"compile: .*no compiler is here; leave it out"):
        Objective(net, compiled=True)(batch)


def test_channels_last_gives_the_same_losses_and_gradients(cpm: tuple[CaffeNet, dict[str, torch.Tensor]]) -> None:
    net, batch = cpm
    plain = _losses_and_gradients(Objective(net), net, batch)
    try:
        net.to(memory_format=torch.channels_last)
        turned = {name: tensor.to(memory_format=torch.channels_last) for name, tensor in batch.items()}
        found = _losses_and_gradients(Objective(net), net, turned)
    finally:
        net.to(memory_format=torch.contiguous_format)
    for a, b in zip(plain, found, strict=True):
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()  # another algorithm, sums in another order


def test_compiling_and_recomputing_exclude_each_other(cpm: tuple[CaffeNet, dict[str, torch.Tensor]]) -> None:
    with pytest.raises(UsageError, match="one of them"):
        Objective(cpm[0], compiled=True, recompute=True)


def test_a_net_without_losses_is_refused() -> None:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
    with pytest.raises(TrainingError, match="no loss in phase TRAIN"):
        Objective(load_net(parse_net(text, phase="TRAIN")))
