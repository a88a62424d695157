"""What was found, as the page reads it, and as files to take away.

The page gets the belief maps once, as bytes, and draws every stage, scale and part itself: a step of a slider asks
nothing of the server.

Conventions: on the page, pixel i of a picture lies between i and i + 1, so a joint's page coordinate is its image px
plus 0.5; boxes and sizes are in image px. A map's byte is 255 times its share of what a sure net gives.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.imaging.boxing import BoxGeometry
from cpm_port.imaging.opencv import cv2
from cpm_port.inference.beliefs import image_maps
from cpm_port.inference.results import NOBODY
from cpm_port.parts import BACKGROUND
from cpm_port.web.looking import FoundPeople
from cpm_port.web.uploads import SentPicture

__all__ = ["DOWNLOADS", "map_bytes", "page_content"]

GRID_SIDE = 128
"""Samples of a merged map along its longer side."""


def page_content(found: FoundPeople) -> dict[str, Any]:
    """Return what the page must know of a result; the maps come apart (`map_bytes`)."""
    interface = found.interface
    order = interface.part_order
    return {
        "model": found.model_name,
        "place": found.place,
        "nobody": NOBODY,
        "parts": order.parts,
        "limbs": [[order.index(start), order.index(end)] for start, end in order.limbs],
        "box_size": interface.box_size,
        "stages": list(interface.stages),
        "people": [_person(found, number) for number in range(len(found.people))],
    }


def _person(found: FoundPeople, number: int) -> dict[str, Any]:
    person, geometries, maps = found.people[number], found.geometries[number], found.maps[number]
    assert person.prediction is not None
    (rows, down), (columns, across) = _grid(geometries)
    with_center_map = found.interface.channels == 4
    return {
        "joints": person.joints.tolist(),
        "scores": person.scores.tolist(),
        "score": person.score,
        "center": person.center,
        "multipliers": person.prediction.search.multipliers,
        "scales": person.prediction.search.scales,
        "boxes": [_box(geometry) for geometry in geometries],
        "center_maps": [_center_map(g, found.interface.center_sigma) for g in geometries] if with_center_map else None,
        "cells": maps.shape[3:],
        "grid": [len(rows), len(columns)],
        "grid_box": [across[0], down[0], across[1] - across[0], down[1] - down[0]],
    }


def map_bytes(found: FoundPeople, number: int) -> bytes:
    """Return a person's maps as the page reads them.

    Returns
    -------
    bytes
        (stages, levels, P + 1, h, w) in the boxes' cells, then the sums over the levels, (stages, P + 1, rows, columns)
        on the grid of `grid_box`; uint8 both.
    """
    maps = found.maps[number]
    merged = _merged(found, number) / maps.shape[1]
    return _bytes(maps) + _bytes(merged.transpose(0, 3, 1, 2))


def _bytes(maps: NDArray[np.float32]) -> bytes:
    return (np.clip(maps, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).tobytes()


def _merged(found: FoundPeople, number: int) -> NDArray[np.float32]:
    """Return each stage's maps, summed over the levels, on the grid: (stages, rows, columns, P + 1)."""
    geometries = found.geometries[number]
    (rows, _), (columns, _) = _grid(geometries)
    sums = [
        image_maps(torch.from_numpy(stage), geometries, rows=rows, columns=columns).numpy()
        for stage in found.maps[number]
    ]
    return np.stack(sums)


def _grid(geometries: tuple[BoxGeometry, ...]) -> list[tuple[NDArray[np.int64], tuple[int, int]]]:
    """Return where merged maps are shown: all that the widest box sees of the image.

    Returns
    -------
    list of (ndarray, (int, int))
        Of the rows, then of the columns: those that are sampled, and between which they lie.
    """
    x, y, side, _ = max((_box(geometry) for geometry in geometries), key=lambda box: box[2])
    ranges = []
    for begin, length in zip((y, x), geometries[0].image_size, strict=True):
        first = int(np.clip(np.floor(begin), 0, length - 1))
        ranges.append((first, int(np.clip(np.ceil(begin + side), first + 1, length))))
    step = max(1.0, max(stop - start for start, stop in ranges) / GRID_SIDE)
    sampled = []
    for start, stop in ranges:
        places = start + (np.arange(max(1, round((stop - start) / step))) + 0.5) * step
        sampled.append((places.astype(np.int64).clip(start, stop - 1), (start, stop)))
    return sampled


def _box(geometry: BoxGeometry) -> list[float]:
    """Return where a level's box lies on the page: x, y, width, height."""
    side = geometry.box_size / geometry.scale
    up, left = geometry.pad[:2]
    return [-left / geometry.scale, -up / geometry.scale, side, side]


def _center_map(geometry: BoxGeometry, sigma: float) -> list[float]:
    """Return the center map's peak on the page, and its deviation: x, y, sigma."""
    x, y, _, _ = _box(geometry)
    peak = (geometry.box_size / 2 - 0.5) / geometry.scale
    return [x + peak, y + peak, sigma / geometry.scale]


def _own(found: FoundPeople, picture: SentPicture, _least: float) -> bytes:
    return found.result(picture.decoded()).record().text().encode()


def _coco(found: FoundPeople, picture: SentPicture, _least: float) -> bytes:
    return json.dumps(found.result(picture.decoded()).to_coco()).encode()


def _openpose(found: FoundPeople, picture: SentPicture, _least: float) -> bytes:
    return json.dumps(found.result(picture.decoded()).to_openpose()).encode()


def _drawn(found: FoundPeople, picture: SentPicture, min_score: float) -> bytes:
    _, data = cv2.imencode(".png", found.result(picture.decoded()).draw(min_score))
    return bytes(data)


def _maps(found: FoundPeople, picture: SentPicture, _least: float) -> bytes:
    """Everybody's maps as NumPy's .npz: `person_1_maps` (stages, levels, P + 1, h, w), ... as they left the net."""
    arrays: dict[str, Any] = {
        "parts": np.array([*found.interface.part_order.parts, BACKGROUND]),
        "stages": np.array(list(found.interface.stages)),
    }
    for number, (person, geometries) in enumerate(zip(found.people, found.geometries, strict=True)):
        assert person.prediction is not None
        (rows, _), (columns, _) = _grid(geometries)
        arrays |= {
            f"person_{number + 1}_{name}": values
            for name, values in {
                "maps": found.maps[number],
                "multipliers": np.array(person.prediction.search.multipliers),
                "boxes": np.array([_box(geometry) for geometry in geometries]),
                "joints": person.joints,
                "scores": person.scores,
                "merged": _merged(found, number),
                "merged_rows": rows,
                "merged_columns": columns,
            }.items()
        }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


DOWNLOADS: dict[str, tuple[Callable[[FoundPeople, SentPicture, float], bytes], str]] = {
    "json": (_own, "application/json"),
    "coco": (_coco, "application/json"),
    "openpose": (_openpose, "application/json"),
    "png": (_drawn, "image/png"),
    "npz": (_maps, "application/octet-stream"),
}
"""Name -> what makes the file of a result, its picture and the least score of a joint that is drawn; and its type."""
