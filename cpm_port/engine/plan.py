"""Which way each convolution is run: directly, or in the frequency domain with which tile size, within a memory bound.

Two sources of times, one way to choose. `estimate` is a cost model: arithmetic and memory traffic of every pass over
constants below, the same answer on every machine. `time_ways` runs each way once on this machine and keeps the times in
a file of the user's cache folder, so that later runs, and other processes, choose the same ways.

A net of small kernels gains little in the frequency domain, and pays for it once by compiling the loops and
transforming the weights: `without_small_gains` leaves such a net to the direct way.

`choose` starts with the fastest way of every layer and, while the transformed weights exceed the bound, takes the step
that costs the least time per byte saved. Running directly takes no bytes, so every bound can be met.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.compute.memory import Workspace
from cpm_port.engine.fft import FEW_CHANNELS, LANES, TILE_SIZES, FourierConv, Pool, tile_geometry
from cpm_port.engine.pointwise import PointwiseConv
from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.json_text import read_json

__all__ = [
    "ConvJob",
    "Way",
    "cache_file",
    "choose",
    "estimate",
    "prepare",
    "run_direct",
    "time_ways",
    "without_small_gains",
]

_Key = TypeVar("_Key", bound=Hashable)

# Per core of the machine this was fitted on (two Zen 5 cores, AVX-512), float32. Only their proportions matter.
_DIRECT = 220e9  # operations a second of the direct convolution with many channels
_DIRECT_FEW = 100e9  # and with few
_PRODUCT = 210e9  # of the products per frequency
_TRANSFORM = 1.35e9  # values a second through one transform
_TRAFFIC = 30e9  # bytes a second to and from memory
_PASS = 1e-4  # seconds to start three passes

_WORTH_COMPILING = 0.75  # of a pass's estimate with direct convolutions, at most
_WORTH_MEASURING = 2.5  # times the estimate of the fastest way


@dataclass(frozen=True)
class ConvJob:
    """A 'same' convolution of stride 1 on maps of one size, the ReLU and pooling that follow included."""

    images: int
    channels: int
    outputs: int
    kernel: int
    height: int
    width: int
    rectify: bool
    pool: Pool


@dataclass(frozen=True)
class Way:
    """A way to run a convolution.

    Attributes
    ----------
    size : int
        The tile size; 0 is the direct way, 1 the product of a 1 x 1 convolution.
    seconds : float
        What one run takes, estimated or measured.
    nbytes : int
        What the transformed weights take.
    """

    size: int
    seconds: float
    nbytes: int


def estimate(job: ConvJob, workspace: int) -> list[Way]:
    """Return every way to run `job`, the direct one first, with the cost model's times.

    Parameters
    ----------
    job : ConvJob
    workspace : int
        Bytes for spectra; tile sizes of which not one pair fits are left out.
    """
    pixels, maps = job.images * job.height * job.width, job.channels * job.outputs
    rate = _DIRECT if job.channels >= LANES else _DIRECT_FEW
    traffic = 4 * pixels * job.outputs * (1 + 3 * (job.pool.kernel > 1))
    ways = [Way(0, 2 * pixels * maps * job.kernel**2 / rate + traffic / _TRAFFIC, 0)]
    if job.kernel == 1:
        return [*ways, Way(1, ways[0].seconds / 2, 4 * job.channels * (job.outputs + -job.outputs % LANES))]
    if job.outputs % LANES:
        return ways
    padded = -(-job.channels // LANES) * LANES
    for size in TILE_SIZES:
        geometry = tile_geometry(job.height, job.width, job.kernel, size, job.pool)
        frequencies = size * (size // 2 + 1)
        separate = job.channels > FEW_CHANNELS
        spectra = 8 * frequencies * (padded + job.outputs * separate)
        if geometry is None or 2 * spectra > workspace:
            continue
        tiles = job.images * geometry.rows * geometry.columns
        tiles += tiles % 2
        weights = 8 * frequencies * maps
        chunks = -(-tiles * spectra // workspace)
        seconds = (
            8 * frequencies * tiles * maps / (_PRODUCT if separate else _DIRECT_FEW)
            + tiles * size**2 * (padded * separate + job.outputs) / _TRANSFORM
            + (tiles * spectra + chunks * weights) * separate / _TRAFFIC
            + _PASS * chunks
        )
        ways.append(Way(size, seconds, weights))
    return ways


def without_small_gains(ways: Mapping[_Key, list[Way]]) -> dict[_Key, list[Way]]:
    """Return the direct ways alone where the others would save less than a quarter of the whole pass, else all."""
    direct = {key: [way for way in options if way.size == 0] for key, options in ways.items()}
    fastest, plain = (sum(min(w.seconds for w in options) for options in some.values()) for some in (ways, direct))
    return direct if fastest > _WORTH_COMPILING * plain else dict(ways)


def choose(ways: Mapping[_Key, list[Way]], bound: int) -> dict[_Key, Way]:
    """Return one way for each key: the fastest ones whose bytes together stay within `bound`.

    Parameters
    ----------
    ways : mapping of key to list of Way
        Each list holds one way without bytes.
    bound : int
        Bytes.
    """
    chosen = {key: min(options, key=lambda way: (way.seconds, way.nbytes)) for key, options in ways.items()}
    while sum(way.nbytes for way in chosen.values()) > bound:
        key, cheaper = min(
            ((key, way) for key, options in ways.items() for way in options if way.nbytes < chosen[key].nbytes),
            key=lambda step: (step[1].seconds - chosen[step[0]].seconds) / (chosen[step[0]].nbytes - step[1].nbytes),
        )
        chosen[key] = cheaper
    return chosen


def time_ways(job: ConvJob, workspace: int, file: Path | None = None) -> list[Way]:
    """Return what `estimate` returns with measured times, but only ways that the model finds worth measuring.

    Parameters
    ----------
    job, workspace
        As for `estimate`.
    file : Path, optional
        The file of measured times; by default `cache_file()`. Times that it lacks are measured and added.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    path = file or cache_file()
    known = _read_times(path)
    machine, name = _machine(), json.dumps(asdict(job), sort_keys=True)
    times = known.setdefault(machine, {}).setdefault(name, {})
    ways = estimate(job, workspace)
    limit = _WORTH_MEASURING * min(way.seconds for way in ways)
    ways = [way for way in ways if way.size == 0 or way.seconds <= limit]
    lacking = [way.size for way in ways if str(way.size) not in times]
    if lacking:
        times.update({str(size): _time(job, size, workspace) for size in lacking})
        try:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"a measured plan is kept in {path}, which cannot be written: {error}") from error
    return [Way(way.size, times[str(way.size)], way.nbytes) for way in ways]


def cache_file() -> Path:
    """Return where measured times are kept: `cpm_port/convolution_times.json` in the user's cache folder."""
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "cpm_port" / "convolution_times.json"


def prepare(weight: Tensor, bias: Tensor | None, size: int) -> FourierConv | PointwiseConv:
    """Return a convolution's weights made ready for tiles of `size`, over 0."""
    return PointwiseConv(weight, bias) if size == 1 else FourierConv(weight, bias, size=size)


def run_direct(x: Tensor, convolve: Callable[[Tensor], Tensor], rectify: bool, pool: Pool) -> Tensor:
    """Return `convolve(x)`, rectified and pooled; where pooled, image by image, so that large maps stay in the cache.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    convolve : callable
        Returns a tensor that may be overwritten.
    """
    if pool.kernel == 1:
        y = convolve(x)
        return y.relu_() if rectify else y
    parts = [
        F.max_pool2d(run_direct(image, convolve, rectify, Pool()), pool.kernel, pool.stride, ceil_mode=True)
        for image in torch.split(x, 1)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _time(job: ConvJob, size: int, workspace: int) -> float:
    """Return the shortest time of three runs after a first, on noise: other work can only make a run longer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(job.images, job.channels, job.height, job.width, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(job.outputs, job.channels, job.kernel, job.kernel, generator=generator)
    bias = torch.zeros(job.outputs)
    run = prepare(weight, bias, size) if size else None
    memory = Workspace(workspace)

    def convolve(part: Tensor) -> Tensor:
        return F.conv2d(part, weight, bias, padding=job.kernel // 2)

    times = []
    with torch.inference_mode():
        for _ in range(4):
            start = time.perf_counter()
            if run is not None:
                run(x, job.rectify, job.pool, memory)
            else:
                run_direct(x, convolve, job.rectify, job.pool)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def _read_times(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the file's times; none where it is absent or is not what `time_ways` wrote."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    whole = isinstance(content, dict) and all(
        isinstance(jobs, dict)
        and all(
            isinstance(times, dict)
            and all(isinstance(value, float) and 0 <= value < math.inf for value in times.values())
            for times in jobs.values()
        )
        for jobs in content.values()
    )
    return content if whole else {}


def _machine() -> str:
    """Name what measured times depend on, besides the job."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    except OSError:
        pass
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"
