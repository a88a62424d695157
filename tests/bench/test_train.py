"""The training bench counts what it says it counts, at a size of a second."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from cpm_port.bench import train
from cpm_port.bench.train import configure, run, training_flops
from cpm_port.caffe import parse_net
from cpm_port.errors import TrainingError
from cpm_port.graph import load_net

_NET = """
layer { name: "in" type: "Input" top: "x" top: "y"
        input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 dim: 5 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "Convolution" bottom: "a" top: "b"
        convolution_param { num_output: 5 kernel_size: 1 bias_term: false } }
layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "y" top: "loss" }
"""


def test_operations_are_counted_forward_for_weights_and_for_inputs_that_learn() -> None:
    """By hand: the first layer's input needs no gradient, the second's does."""
    first, second = 2 * 2 * 64 * 4 * 3 * 9, 2 * 2 * 64 * 5 * 4
    assert training_flops(load_net(parse_net(_NET, phase="TRAIN"))) == 2 * first + 3 * second


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without bfloat16 instructions multiplies the bench's own sizes for half a minute."""
    monkeypatch.setattr(train, "_PRODUCT_SIZE", {"cpu": 64})
    monkeypatch.setattr(train, "_CHANNELS", 4)


_SMALL = ["--device", "cpu", "--stages", "2", "--box-size", "32", "--batch-size", "2", "--repeats", "1"]


def _run(*extra: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    configure(parser)
    return run(parser.parse_args([*_SMALL, *extra]))


@pytest.mark.parametrize("extra", [["--width", "16"], ["--width", "4", "--amp", "bf16", "--channels-last"]])
def test_the_bench_measures_a_small_net(extra: list[str]) -> None:
    result = _run(*extra)
    seconds = result["medians"]["iteration"]
    assert result["samples per second"] == pytest.approx(2 / seconds)
    assert result["TFLOP per second"] > 0
    rates = [result[f"TFLOP per second of the {name}"] for name in ("product", "convolution")]
    assert result["share of the matrix rate"] == pytest.approx(result["TFLOP per second"] / max(rates))
    assert "of float32 on the CPU" in result["parity"]
    assert result["ratios"] == {"plain PyTorch": result["medians"]["plain PyTorch"] / seconds}
    assert ("engine True" in result["how"]) == ("gradients within" in result["parity"]) == (len(extra) == 2)


def test_a_fine_tuning_runs_with_the_engine_and_without_to_the_same_losses() -> None:
    told = _run("--width", "16", "--finetune", "2")
    assert told["fine-tuning"].startswith("2 iterations at batch 2")
    assert min(told["fine-tuning, seconds"], told["fine-tuning by plain layers, seconds"]) > 0


def test_a_plain_port_of_another_loss_stops_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = train._PlainPort.loss
    monkeypatch.setattr(train._PlainPort, "loss", lambda *given: 1.01 * honest(*given))
    with pytest.raises(TrainingError, match="off those of float32"):
        _run("--width", "4")


@pytest.mark.parametrize(
    ("fault", "message"),
    [("_GRADIENT_TOLERANCE", "gradients are"), ("_RUN_TOLERANCE", "losses of the fine-tuning")],
)
def test_an_engine_beyond_its_tolerance_stops_the_bench(
    fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, fault, -1.0)
    with pytest.raises(TrainingError, match=message):
        _run("--width", "16", "--finetune", "1")
