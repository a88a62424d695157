"""What a GPU makes of this package, in five minutes at most: for the day one is at hand.

Its parts, each in a process of its own (what one does to the GPU harms no other) and bounded in time:

- `tests`: the tests marked `gpu`, all layers' goldens among them, captured and not, in float32, TF32 and bf16; in a
  checkout;
- `layers`: every kind of layer in every way that it could be run, beside the roofline (`_gpu_layers.py`);
- `people`: people a second, 1, 2, 4 and 8 together; net, way back and host (`_gpu_people.py`);
- `joints`: what each precision does to the default model's joints (`cpm-port bench precision`);
- `training`: samples a second beside a plain port's, and with the real data layer (`cpm-port bench train`);
- `memory`: what graphs of eight shapes hold;
- `resume`: a run that was interrupted beside one that was not.

A part that fails, or is not done in its time, is named in `missed`, with what it had measured until then; the others go
on, and the exit code is 1. The record is `DIR/<device>/gpu.json`, written anew after every part; `--record` keeps it in
the checkout, `reference_results/benchmarks/gpu/<device>`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cpm_port.bench import precision
from cpm_port.bench._gpu import Part, Sizes
from cpm_port.bench._gpu_layers import layers
from cpm_port.bench._gpu_people import memory, people
from cpm_port.bench._gpu_training import resume, training
from cpm_port.bench._records import device_folder, write_results
from cpm_port.compute.devices import checked_device
from cpm_port.compute.machine import describe_machine
from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.resources import resource_dir

__all__ = ["PARTS", "configure", "measure_part", "run"]


def gpu_tests(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Run the checkout's tests that are marked `gpu`; the current GPU is the one that they take."""
    folder = resource_dir("reference_results").parent
    yield from tests_in(folder / "tests") if (folder / "pyproject.toml").is_file() else [{"tests": "no checkout"}]


def tests_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Run the tests marked `gpu` in a folder, and give the counts, and the failed ones' names."""
    marked = [str(path) for path in sorted(folder.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", *marked]
    counts: Counter[str] = Counter()
    failed: list[str] = []
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            last.append(line)
            if found := re.match(r"(\S+::.+) (PASSED|FAILED|SKIPPED|ERROR)\b", line):
                counts[found[2].lower()] += 1
                failed += [found[1]] if found[2] in ("FAILED", "ERROR") else []
                yield {"tests": dict(counts), "failed tests": failed}
    if tests.returncode:
        yield {"missed": [f"pytest ended with {tests.returncode}: {''.join(last)}"]}


def joints(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Measure what each precision does to a trained model's joints, of drawn people."""
    parser = argparse.ArgumentParser()
    precision.configure(parser)
    words = ["--net", str(sizes.net), "--weights", str(sizes.weights)] if sizes.net else ["--model", "default"]
    words += ["--device", str(device), "--repeats", str(sizes.repeats), "--people", str(sizes.people)]
    yield precision.run(parser.parse_args(words))


PARTS: dict[str, tuple[Part, int]] = {
    "tests": (gpu_tests, 70),
    "layers": (layers, 60),
    "people": (people, 50),
    "joints": (joints, 30),
    "training": (training, 45),
    "memory": (memory, 20),
    "resume": (resume, 25),
}
"""Each part, and its time limit in seconds; together, five minutes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the record to DIR/<device>/gpu.json, part by part"
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help="these parts alone")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the parts one after another; return what all of them measured."""
    device = torch.device(checked_device(args.device))
    if device.type != "cuda":
        raise UsageError(f"--device {args.device}: `cpm-port bench gpu` is for CUDA devices")
    name = torch.cuda.get_device_name(device)
    machine = describe_machine()
    result: dict[str, Any] = {"device": name, "missed": []}
    for part in args.only or PARTS:
        began = time.perf_counter()
        found = _measured(part, str(device), PARTS[part][1])
        seconds = time.perf_counter() - began
        result["missed"] += [f"{part}: {said}" for said in found.pop("missed")]
        result[part] = {"seconds": seconds, **found}
        print(f"{part}: {seconds:.0f} s", flush=True)
        if args.out is not None:
            command = f"cpm-port bench gpu --device {args.device}"
            write_results(args.out / device_folder(name) / "gpu.json", command, machine, {"gpu": result})
    return result


def measure_part(part: str, device: str, path: Path, sizes: Sizes | None = None) -> None:
    """Run one part here and keep what it knows in a file, as JSON, as often as it knows more."""
    known: dict[str, Any] = {}
    missed: list[str] = []
    for more in PARTS[part][0](torch.device(checked_device(device)), sizes or Sizes()):
        missed += more.pop("missed", [])
        known |= more
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({**known, "missed": missed}), encoding="utf-8")


def _measured(part: str, device: str, limit: float) -> dict[str, Any]:
    """Run one part in a process of its own; what ends it is in `missed`."""
    with tempfile.TemporaryDirectory() as folder:
        path, said = Path(folder) / "part.json", Path(folder) / "said"
        with said.open("wb") as stream:
            child = subprocess.Popen(_command(part, device, path), stdout=stream, stderr=stream, start_new_session=True)
            try:
                code: int | None = child.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if child.poll() is None:  # with all that it has started; also where somebody interrupts us
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"missed": []}
        if code is None:
            found["missed"].append(f"not done in {limit:.0f} s")
        elif code:
            last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            found["missed"].append(f"ended with {code}: {' '.join(last)}")
        return found


def _command(part: str, device: str, path: Path) -> list[str]:
    code = "import pathlib, sys; from cpm_port.bench import gpu; "
    code += "gpu.measure_part(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))"
    return [sys.executable, "-c", code, part, device, str(path)]
