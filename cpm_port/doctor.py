"""What a report of a fault must say about an installation, and what is missing in it: `cpm-port doctor`.

Nothing is changed, and nothing leaves the machine. Paths in the user's home begin with `~`, so that the text can be
pasted as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite.binding
import torch

from cpm_port.compute.machine import describe_machine
from cpm_port.engine.plan import cache_file
from cpm_port.errors import CpmPortError
from cpm_port.files.json_text import read_json
from cpm_port.zoo import models_dir
from cpm_port.zoo.choice import describe_all
from cpm_port.zoo.entries import GONE

__all__ = ["Findings", "examine", "in_words"]

_INSTRUCTIONS = ("avx2", "fma", "f16c", "avx512f", "avx512bf16", "amx-bf16", "neon", "sve")  # those that the loops feel
_VARIABLES = (
    "CPM_PORT_MODELS", "CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT",
    "OMP_NUM_THREADS", "XDG_CACHE_HOME", "XDG_DATA_HOME",
)  # fmt: skip
_EXTRAS = {
    "lmdb": ("lmdb",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "tensorboard": ("tensorboard",),
    "web": ("starlette", "uvicorn"),
}


@dataclass(frozen=True)
class Findings:
    """What `examine` found.

    Attributes
    ----------
    facts : dict of str to str
        Title -> what there is, in the order in which it is printed.
    missing : tuple of str
        What is absent and how to get it. Nothing in it is needed by the default model.
    broken : tuple of str
        What is there and wrong.
    """

    facts: Mapping[str, str]
    missing: tuple[str, ...]
    broken: tuple[str, ...]


def examine() -> Findings:
    """Look at versions, devices, instructions, caches and models.

    Examples
    --------
    >>> from cpm_port.doctor import examine
    >>> examine().broken
    ()
    """
    machine, models = describe_machine(), describe_all()
    versions = dict(machine["versions"])
    commit = f", commit {machine['commit']}" if machine["commit"] else ""
    python = versions.pop("python")
    present = [model["name"] for model in models if model["present"]]
    facts = {
        "cpm_port": f"{versions.pop('cpm_port', 'not installed as a package')}{commit}",
        "python": f"{python}, {machine['system']}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "processor": f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads",
        "instructions": _instructions(),
        "memory": _memory(),
        "GPU": _gpu(),
        "models": f"{', '.join(present) or 'none'} (in {models_dir()}, and with the package)",
        "measured convolution times": _times(cache_file()),
        "environment": ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ) or "plain",
    }
    return Findings(
        {title: _without_home(text) for title, text in facts.items()},
        tuple(_without_home(text) for text in (*_missing_extras(), *_missing_models(models))),
        tuple(_without_home(f"model {m['name']}: {m['problem']}") for m in models if m["problem"] is not None),
    )


def in_words(findings: Findings) -> str:
    """Return the findings as lines of text."""
    lines = [f"{title}: {text}" for title, text in findings.facts.items()]
    lines += ["", "missing:", *(f"  {text}" for text in findings.missing)] if findings.missing else []
    lines += ["", "BROKEN:", *(f"  {text}" for text in findings.broken)] if findings.broken else []
    return "\n".join(lines)


def _instructions() -> str:
    features = llvmlite.binding.get_host_cpu_features()
    has = [name for name in _INSTRUCTIONS if features.get(name)]
    named = ", ".join(has) or f"none of {', '.join(_INSTRUCTIONS)}"
    return f"{named}; PyTorch uses {torch.backends.cpu.get_cpu_capability()}"


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def _gpu() -> str:
    built = (
        f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built for CPUs only"
    )
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(index) for index in range(count)]
    return f"{', '.join(names) or 'none'}; {built}"


def _times(path: Path) -> str:
    if not path.exists():
        return f"none ({path}; `--plan measure` writes it)"
    try:
        machines = read_json(path)
    except CpmPortError:
        return f"{path}, not readable"
    return f"{path}, of {len(machines)} machine{'' if len(machines) == 1 else 's'}"


def _missing_extras() -> list[str]:
    found = []
    for extra, modules in _EXTRAS.items():
        absent = [name for name in modules if find_spec(name) is None]
        if absent:
            found.append(f"{', '.join(absent)}: pip install 'cpm_port[{extra}]'")
    return found


def _missing_models(models: list[dict[str, Any]]) -> list[str]:
    absent = [model for model in models if not model["present"] and model["problem"] is None]
    lines = [
        f"model {model['name']}: bring {model['original_file']}, then `cpm-port models add {model['original_file']}`"
        for model in absent
    ]
    return [*lines, f"(of the official models: {GONE})"] if lines else []


def _without_home(text: str) -> str:
    return text.replace(str(Path.home()), "~")
