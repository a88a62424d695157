"""People a second on a GPU, where their time goes, and what the graphs of several shapes take of its memory."""

from __future__ import annotations

import copy
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cpm_port.bench import _peers
from cpm_port.bench._gpu import Sizes, drawn_person, gpu_seconds, rates
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import PRECISIONS
from cpm_port.imaging.pyramid import build_pyramid
from cpm_port.inference.beliefs import way_back
from cpm_port.inference.interface import read_interface
from cpm_port.inference.peaks import queue_peaks
from cpm_port.inference.predict import run_people
from cpm_port.inference.stream import PersonToFind, predict_stream

__all__ = ["memory", "people"]

_GROWTH = 1.01  # of the memory held, when shapes come again: allocators round


def people(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Time people of seven scales through the seeded net, in groups, in every precision.

    Of a group: `net ms` and `way back ms` are the GPU's time, from the first kernel to the last as one thread queues
    them; `host ms` is one thread's for the pyramids and the way back's matrices; `people a second` is that of a whole
    stream, image to joints, and `ideal share %` what its convolutions are of the card's matrix rate.
    """
    matrix, _ = rates(device, sizes)
    net = _seeded(sizes, device)
    interface = read_interface(net)
    drawn = [drawn_person(number, sizes) for number in range(max(sizes.groups))]
    cells = tuple(net.blob_shapes[interface.output][2:])
    box = interface.box_size
    tables: dict[str, dict[str, Any]] = {}
    for precision in reversed(PRECISIONS):
        fast: Any = fast_net(copy.deepcopy(net), precision)
        table = tables.setdefault(f"people in {precision}", {})
        for group in sizes.groups:
            way_back.cache_clear()
            began = time.thread_time()
            pyramids = [build_pyramid(image, at.center_xy, at.scales, box) for image, at in drawn[:group]]
            for pyramid in pyramids:
                way_back(tuple(pyramid.geometries), (cells[0], cells[1]))
            host = time.thread_time() - began
            beliefs = run_people(fast, interface, pyramids)

            def pass_through(fast: Any = fast, pyramids: Any = pyramids) -> object:
                return run_people(fast, interface, pyramids)

            def search(beliefs: Any = beliefs, pyramids: Any = pyramids) -> None:
                with torch.inference_mode():
                    for maps, pyramid in zip(beliefs, pyramids, strict=True):
                        queue_peaks(maps.final[:, :-1], pyramid.geometries, "benchmark")

            def stream(count: int, fast: Any = fast, group: int = group) -> None:
                each = (PersonToFind(str(i), *drawn[i % len(drawn)]) for i in range(count))
                deque(predict_stream(fast, each, batch_people=group), maxlen=0)

            stream(group)  # captures
            began = time.perf_counter()
            stream(sizes.people)
            whole = (time.perf_counter() - began) / sizes.people
            scales = len(drawn[0][1].multipliers)
            table[str(group)] = {
                "people a second": 1 / whole,
                "net ms": 1e3 * gpu_seconds(pass_through, device, sizes),
                "way back ms": 1e3 * gpu_seconds(search, device, sizes),
                "host ms": 1e3 * host,
                "ideal share %": 100 * scales * _peers.net_operations(net.spec) / whole / matrix[precision],
            }
            yield dict(tables)


def memory(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Capture graphs for several shapes, then run them all again: the second time, nothing may be added."""
    net: Any = fast_net(_seeded(sizes, device))
    name, shape = next(iter(net.net.inputs.items()))
    held: dict[str, dict[str, Any]] = {}
    again = 0
    for turn in range(2):
        for images in range(1, sizes.shapes + 1):
            net({name: torch.zeros((images, *shape[1:]), device=device)})
            torch.cuda.synchronize(device)
            again = torch.cuda.memory_reserved(device)
            if not turn:
                held[f"after {images} shapes"] = {
                    "allocated MiB": torch.cuda.memory_allocated(device) / 2**20,
                    "reserved MiB": again / 2**20,
                }
                yield {"memory": held}
    before = list(held.values())[-1]["reserved MiB"]
    yield {"memory when they come again, MiB": again / 2**20}
    if again / 2**20 > _GROWTH * before:
        yield {"missed": [f"shapes that come again took {again / 2**20:.0f} MiB, {before:.0f} before"]}


def _seeded(sizes: Sizes, device: torch.device) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return _peers.seeded_model(sizes.design, Path(folder)).net.to(device)
