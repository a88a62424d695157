"""Pictures of a prediction: the limbs over the image, and the belief maps of every part at every stage.

Where in the flow: after prediction, for people to look at; no torch.

Conventions: images are `(H, W, 3)` uint8, BGR; joints `(x, y)`, 0-based image px. The person's right side is drawn in
warm colours, the left side in cool ones, whatever the side of the picture. Belief maps share one fixed colour scale,
from 0 to what a sure net gives, so pictures of different images and stages can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.parts import BACKGROUND, PartOrder, side_of

__all__ = [
    "Picture",
    "contact_sheet",
    "draw_joints",
    "draw_poses",
    "map_grid",
    "map_window",
    "pictured_window",
    "thumbnail",
    "track_colour",
]

RIGHT, LEFT, MIDDLE = (30, 120, 255), (255, 170, 40), (60, 220, 120)

CELL_SIDE = 150
CELL_WIDTH = 72
ROW_TITLE, COLUMN_TITLE, GAP = 62, 34, 4
INK, PAPER = (40, 40, 40), 255
THUMBNAIL_SIDE, ROW_TEXT = 240, 16

Picture = NDArray[np.uint8]


def draw_joints(image: Picture, joints: NDArray[np.float64], order: PartOrder) -> Picture:
    """Draw one person; as `draw_poses`, with joints of shape (P, 2)."""
    return draw_poses(image, [joints], order)


def draw_poses(
    image: Picture,
    people: Sequence[NDArray[np.float64]],
    order: PartOrder,
    tracks: Sequence[int | None] | None = None,
) -> Picture:
    """Draw people's limbs and joints over the image, the first one last, so on top.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8, BGR
    people : sequence of ndarray, shape (P, 2), float64
        0-based image px; a joint that is NaN is left out, with its limbs.
    order : PartOrder
        The joints' names and limbs; nameless joints get their number.
    tracks : sequence of int or None, optional
        Who each of them is, from frame to frame: a box of the track's own colour, with its number.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8, BGR
        Pixel for pixel the image's, so that joints lie where their coordinates say.

    Raises
    ------
    ShapeError
        Not one joint per part.
    """
    for joints in people:
        if joints.shape != (len(order), 2):
            raise ShapeError(f"joints are {joints.shape}, expected ({len(order)}, 2) for order {order.name!r}")
    picture = np.ascontiguousarray(image.copy())
    for number in reversed(range(len(people))):
        points = people[number]
        track = None if tracks is None else tracks[number]
        if track is not None:
            _draw_track(picture, points, track)
        _draw_person(picture, points, order)
    return np.asarray(picture, np.uint8)


def _draw_person(picture: Any, points: NDArray[np.float64], order: PartOrder) -> None:
    known = np.asarray(np.isfinite(points).all(axis=1))
    extent = float(np.ptp(points[known], axis=0).max()) if known.any() else 0.0
    width = int(np.clip(extent / 70.0, 2, max(picture.shape[:2]) / 120.0 + 2))
    for start, end in order.limbs:
        a, b = order.index(start), order.index(end)
        if known[a] and known[b]:
            colour = _side_colour(start, end)
            _stroke(picture, points[a], points[b], _darker(colour), width + 2)
            _stroke(picture, points[a], points[b], colour, width)
    for index, part in enumerate(order.parts):
        if known[index]:
            at = _pixel(points[index])
            cv2.circle(picture, at, width + 2, (20, 20, 20), -1, cv2.LINE_AA)
            cv2.circle(picture, at, width + 1, _side_colour(part), -1, cv2.LINE_AA)
            if not order.limbs:
                _text(picture, str(index), (at[0] + width + 3, at[1] + 4), (255, 255, 255), outlined=True)


def track_colour(track: int) -> tuple[int, int, int]:
    """Return a track's colour, BGR: steps round the colour circle by the golden section, so neighbours differ."""
    hue = np.array([[[int(track * 0.618034 * 180) % 180, 200, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return int(blue), int(green), int(red)


def thumbnail(picture: Picture) -> Picture:
    """Return a picture as a contact sheet shows it: its longer side `THUMBNAIL_SIDE` px."""
    zoom = THUMBNAIL_SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * zoom)), max(1, round(picture.shape[0] * zoom))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(thumbnails: Sequence[tuple[str, Picture]]) -> Picture:
    """Lay named thumbnails out in rows, about as many as there are columns.

    Parameters
    ----------
    thumbnails : sequence of (str, ndarray)
        At least one; of `thumbnail`.

    Returns
    -------
    ndarray, (height, width, 3), uint8, BGR
    """
    columns = max(1, round(len(thumbnails) ** 0.5))
    width, height = THUMBNAIL_SIDE + GAP, THUMBNAIL_SIDE + GAP + ROW_TEXT
    sheet = np.full((-(-len(thumbnails) // columns) * height, columns * width, 3), PAPER, np.uint8)
    for number, (name, picture) in enumerate(thumbnails):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        _text(sheet, name[:36], (left + 2, top + THUMBNAIL_SIDE + ROW_TEXT - 4), INK)
    return sheet


def _draw_track(picture: Any, points: NDArray[np.float64], track: int) -> None:
    known = points[np.isfinite(points).all(axis=1)]
    if not len(known):
        return
    margin = 0.06 * float(np.ptp(known, axis=0).max()) + 4
    low, high = _pixel(known.min(axis=0) - margin), _pixel(known.max(axis=0) + margin)
    cv2.rectangle(picture, low, high, track_colour(track), 2, cv2.LINE_AA)
    _text(picture, str(track), (low[0] + 3, low[1] + 13), track_colour(track), outlined=True)


def pictured_window(
    image_size: tuple[int, int], search: ScaleSearch, box_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `map_window` of what is pictured of a prediction: as much as the middle scale's box shows."""
    middle_scale = float((min(search.scales) * max(search.scales)) ** 0.5)
    return map_window(image_size, search.center_xy, box_size / middle_scale)


def map_window(
    image_size: tuple[int, int], center_xy: tuple[float, float], side: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the image rows and columns at which the grid samples the maps: a square about the person, in the image.

    Parameters
    ----------
    image_size : (int, int)
        Height and width.
    center_xy : (float, float)
        The person's center, image px.
    side : float
        The square's side, image px.

    Returns
    -------
    rows, columns : ndarray, int64, increasing
        About `CELL_SIDE` along the longer side, fewer where the image has fewer.
    """
    ranges = []
    for center, length in ((center_xy[1], image_size[0]), (center_xy[0], image_size[1])):
        start = int(np.clip(round(center - side / 2.0), 0, length - 1))
        ranges.append((start, int(np.clip(round(center + side / 2.0), start + 1, length))))
    step = max(1.0, max(stop - start for start, stop in ranges) / CELL_SIDE)
    rows, columns = (
        (start + (np.arange(max(1, round((stop - start) / step))) + 0.5) * step).astype(np.int64).clip(start, stop - 1)
        for start, stop in ranges
    )
    return rows, columns


def map_grid(
    image: Picture,
    window: tuple[NDArray[np.int64], NDArray[np.int64]],
    stage_maps: Mapping[int, NDArray[np.float32]],
    order: PartOrder,
    peak_limit: float,
) -> Picture:
    """Draw belief maps over the person: one row per stage, one column per part, the background last.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8, BGR
    window : (rows, columns)
        The image rows and columns of the maps, from `map_window`.
    stage_maps : mapping of int to ndarray, shape (rows, columns, P + 1)
        Stage -> its maps.
    order : PartOrder
        Names of the parts.
    peak_limit : float
        The value drawn brightest.

    Returns
    -------
    ndarray, (height, width, 3), uint8, BGR
        Every cell shows its map's largest value and, on parts, where it is.

    Raises
    ------
    ShapeError
        A stage's maps do not fit the window and the parts.
    """
    rows, columns = window
    expected = (len(rows), len(columns), len(order) + 1)
    for stage, maps in stage_maps.items():
        if maps.shape != expected:
            raise ShapeError(f"stage {stage}: maps are {maps.shape}, expected {expected}")
    zoom = CELL_SIDE / max(expected[:2])
    size = (max(1, round(expected[1] * zoom)), max(1, round(expected[0] * zoom)))
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grey = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    ground = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.float32) * 0.55
    width, height = max(size[0], CELL_WIDTH), size[1]
    sheet = np.full(
        (
            COLUMN_TITLE + len(stage_maps) * (height + GAP),
            ROW_TITLE + (len(order) + 1) * (width + GAP),
            3,
        ),
        PAPER,
        np.uint8,
    )
    for column, name in enumerate((*order.parts, BACKGROUND)):
        left = ROW_TITLE + column * (width + GAP)
        words = name.split("_", 1)
        for line, word in enumerate(words):
            _text(sheet, word, (left + 2, COLUMN_TITLE - 6 - 13 * (len(words) - 1 - line)), INK)
    for row, (stage, maps) in enumerate(stage_maps.items()):
        top = COLUMN_TITLE + row * (height + GAP)
        _text(sheet, f"stage {stage}", (4, top + height // 2), INK)
        for column in range(len(order) + 1):
            left = ROW_TITLE + column * (width + GAP) + (width - size[0]) // 2
            cell = _map_cell(maps[..., column], ground, size, peak_limit, mark=column < len(order))
            sheet[top : top + height, left : left + size[0]] = cell
    return sheet


def _map_cell(
    values: NDArray[np.float32], ground: NDArray[Any], size: tuple[int, int], limit: float, *, mark: bool
) -> Any:
    peak = float(values.max())
    share = cv2.resize(np.clip(values / limit, 0.0, 1.0), size, interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((share * 255.0 + 0.5).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    weight = np.sqrt(share)[:, :, None]
    cell = np.ascontiguousarray((ground * (1.0 - weight) + heat * weight + 0.5).astype(np.uint8))
    if mark:
        y, x = np.unravel_index(int(values.argmax()), values.shape)
        at = (int((x + 0.5) * size[0] / values.shape[1]), int((y + 0.5) * size[1] / values.shape[0]))
        cv2.drawMarker(cell, at, (0, 0, 0), cv2.MARKER_CROSS, 11, 3, cv2.LINE_AA)
        cv2.drawMarker(cell, at, (255, 255, 255), cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
    _text(cell, f"{peak:.2f}", (3, size[1] - 4), (255, 255, 255), outlined=True)
    return cell


def _side_colour(*parts: str) -> tuple[int, int, int]:
    sides = [side_of(part) for part in parts]
    return RIGHT if "right" in sides else LEFT if "left" in sides else MIDDLE


def _darker(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    blue, green, red = colour
    return blue // 3, green // 3, red // 3


def _stroke(
    picture: Any, start: NDArray[np.float64], end: NDArray[np.float64], colour: tuple[int, int, int], width: int
) -> None:
    cv2.line(picture, _pixel(start), _pixel(end), colour, width, cv2.LINE_AA)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _text(
    picture: Any, text: str, at: tuple[int, int], colour: tuple[int, int, int], *, outlined: bool = False
) -> None:
    if outlined:
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)
