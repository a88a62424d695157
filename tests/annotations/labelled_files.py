"""The same two people in one picture as every annotation tool writes them, and an image for them.

In pixels, the first one's middle at 0: person 1 has nose (30, 20) seen, left_ear (40, 10) hidden and no right_ear, in a
box from (10, 0) to (60, 80); person 2 has all three, seen, and no box.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

PARTS = ("nose", "left_ear", "right_ear")
SIZE = (120, 90)
PEOPLE = (
    {"nose": (30.0, 20.0, True), "left_ear": (40.0, 10.0, False)},
    {"nose": (80.0, 30.0, True), "left_ear": (90.0, 50.0, True), "right_ear": (70.0, 50.0, True)},
)
BOX = (10.0, 0.0, 60.0, 80.0)


def write_image(folder: Path, name: str = "a.png", size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((size[1], size[0], 3), 128, np.uint8))


def coco() -> dict[str, Any]:
    annotations = []
    for number, person in enumerate(PEOPLE):
        triples = [(*person[p][:2], 1 + person[p][2]) if p in person else (0, 0, 0) for p in PARTS]
        annotations.append({
            "id": number + 1, "image_id": 7, "category_id": 1, "iscrowd": 0,
            "keypoints": [value for triple in triples for value in triple],
        })  # fmt: skip
    annotations[0]["bbox"] = [BOX[0] + 0.5, BOX[1] + 0.5, BOX[2] - BOX[0], BOX[3] - BOX[1]]
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1]}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "horse", "keypoints": list(PARTS), "skeleton": [[1, 2], [1, 3]]}],
    }


def cvat(skeletons: bool = False) -> str:
    lines = []
    for number, person in enumerate(PEOPLE, 1):
        points = [
            f'<points label="{part}" occluded="{int(not seen)}" points="{x + 0.5},{y + 0.5}" group_id="{number}"/>'
            for part, (x, y, seen) in person.items()
        ]
        if skeletons:
            points.append('<points label="right_ear" outside="1" occluded="0" points="0,0"/>')
            points = [f'<skeleton label="horse" group_id="{number}">', *points, "</skeleton>"]
        lines += points
    x1, y1, x2, y2 = (value + 0.5 for value in BOX)
    lines.append(f'<box label="horse" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" group_id="1"/>')
    svg = "".join(
        f'&lt;circle data-type="element node" data-node-id="{i}" data-label-name="{part}"/&gt;'
        for i, part in enumerate(PARTS, 1)
    )
    svg += '&lt;line data-type="edge" data-node-from="1" data-node-to="2"/&gt;'
    svg += '&lt;line data-type="edge" data-node-from="1" data-node-to="3"/&gt;'
    meta = f"<meta><task><labels><label><name>horse</name><svg>{svg}</svg></label></labels></task></meta>"
    image = f'<image id="0" name="a.png" width="{SIZE[0]}" height="{SIZE[1]}">{"".join(lines)}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?><annotations>{meta if skeletons else ""}{image}</annotations>'


def labelme() -> dict[str, Any]:
    shapes: list[dict[str, Any]] = [
        {
            "label": part, "points": [[x + 0.5, y + 0.5]], "group_id": number, "shape_type": "point",
            "flags": {"hidden": not seen},
        }
        for number, person in enumerate(PEOPLE, 1)
        for part, (x, y, seen) in person.items()
    ]  # fmt: skip
    corners = [[BOX[2] + 0.5, BOX[1] + 0.5], [BOX[0] + 0.5, BOX[3] + 0.5]]
    shapes.append({"label": "horse", "points": corners, "group_id": 1, "shape_type": "rectangle", "flags": {}})
    return {"imagePath": "..\\images\\a.png", "imageWidth": SIZE[0], "imageHeight": SIZE[1], "shapes": shapes}


def label_studio() -> list[dict[str, Any]]:
    size = {"original_width": SIZE[0], "original_height": SIZE[1]}
    results = []
    for number, person in enumerate(PEOPLE):
        for part, (x, y, seen) in person.items():
            place = {"x": (x + 0.5) / SIZE[0] * 100, "y": (y + 0.5) / SIZE[1] * 100, "keypointlabels": [part]}
            region = {"type": "keypointlabels", "value": place, "hidden": not seen, **size}
            results.append({**region, "parentID": "box"} if number == 0 else region)
    x1, y1, x2, y2 = BOX
    sides = {"x": (x1 + 0.5) / SIZE[0] * 100, "y": (y1 + 0.5) / SIZE[1] * 100}
    sides |= {"width": (x2 - x1) / SIZE[0] * 100, "height": (y2 - y1) / SIZE[1] * 100, "rectanglelabels": ["horse"]}
    results.append({"type": "rectanglelabels", "id": "box", "value": sides, **size})
    return [{"data": {"img": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": [{"result": results}]}]


def long_table() -> str:
    lines = ["image,person,part,x,y,visible,box_x,box_y,box_width,box_height"]
    for number, person in enumerate(PEOPLE):
        box = f"{BOX[0] + 0.5},{BOX[1] + 0.5},{BOX[2] - BOX[0]},{BOX[3] - BOX[1]}" if number == 0 else ",,,"
        lines += [f"a.png,{number},{part},{x},{y},{int(seen)},{box}" for part, (x, y, seen) in person.items()]
    return "\n".join(lines)


def wide_table() -> str:
    lines = ["image," + ",".join(f"{p}_x,{p}_y,{p}_visible" for p in PARTS) + ",box_x,box_y,box_width,box_height"]
    for number, person in enumerate(PEOPLE):
        cells = [",".join(map(str, (*person[p][:2], int(person[p][2])))) if p in person else ",," for p in PARTS]
        box = f"{BOX[0] + 0.5},{BOX[1] + 0.5},{BOX[2] - BOX[0]},{BOX[3] - BOX[1]}" if number == 0 else ",,,"
        lines.append(f"a.png,{','.join(cells)},{box}")
    return "\n".join(lines)


FILES = {
    "coco": ("coco", "labels.json", lambda: json.dumps(coco())),
    "cvat": ("cvat", "labels.xml", cvat),
    "cvat skeletons": ("cvat", "labels.xml", lambda: cvat(skeletons=True)),
    "labelme": ("labelme", "labels/a.json", lambda: json.dumps(labelme())),
    "label studio": ("labelstudio", "labels.json", lambda: json.dumps(label_studio())),
    "long table": ("csv", "labels.csv", long_table),
    "wide table": ("csv", "labels.csv", wide_table),
}
"""Kind -> tool, name of the file, and its text."""


def write(folder: Path, kind: str) -> tuple[str, Path, Path]:
    """Write one kind's file and the image; return tool, file and folder of images."""
    tool, name, text = FILES[kind]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
    write_image(folder / "images")
    return tool, path.parent if tool == "labelme" else path, folder / "images"
