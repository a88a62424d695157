"""Claim: a device's name is checked before anything is loaded, and the choice keeps float32 whole.

Oracle: what PyTorch says of this machine. Several processes are tests/inference/test_dataset.py's and
tests/training/test_run.py's.
"""

from __future__ import annotations

import llvmlite.binding
import pytest
import torch

from cpm_port.compute.devices import World, checked_device, default_device, joined_world, slow_bfloat16
from cpm_port.errors import UsageError


def test_choosing_a_device_keeps_float32_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert checked_device("cpu") == "cpu"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["abacus", f"cuda:{torch.cuda.device_count()}"])
def test_a_device_that_is_not_there_is_refused_with_how_many_are(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: .*; {torch.cuda.device_count()} CUDA devices are here"):
        checked_device(name)


@pytest.mark.skipif(torch.backends.mps.is_built(), reason="this PyTorch computes on Apple's GPUs")
def test_a_kind_of_device_that_pytorch_was_not_built_for_is_refused_in_one_sentence() -> None:
    said = "--device mps: the PyTorch that is installed does not compute on it; "
    with pytest.raises(UsageError, match=f"^{said}\\d+ CUDA devices are here$"):
        checked_device("mps")


def test_without_torchrun_a_process_stands_alone_and_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    with joined_world("cpu") as world:
        assert world == World(0, 1, torch.device("cpu"))
        assert world.leads
        assert not torch.distributed.is_initialized()


def test_without_a_name_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert default_device() == ("cuda" if found else "cpu")


@pytest.mark.parametrize(
    ("features", "slow"),
    [
        ({"avx2": True, "fma": True}, True),
        ({"avx512f": True, "avx512bf16": False}, True),
        ({"avx512f": True, "avx512bf16": True}, False),
        ({"avx2": True, "amx-bf16": True}, False),
        ({"neon": True, "bf16": True}, False),
    ],
)
def test_a_cpu_without_bfloat16_instructions_is_told(
    features: dict[str, bool], slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    assert (slow_bfloat16("cpu") is not None) == slow
    assert slow_bfloat16("cuda") is None
