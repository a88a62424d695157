"""The JSON that `cpm-port predict` writes of an image or a video: what it holds, and reading it as one typed thing.

Where in the flow: JOINTS -> FILE -> JOINTS. No torch. `image_results.py` and `video_results.py` write and read the two
kinds of files, `result_parts.py` what they are made of.

Conventions: joints are image px, 0-based, x to the right, y down; (0, 0) is the centre of the top left pixel. Numbers
are written so that they are read back exactly; names may be in any script.

The file of an image, in this order:

- `image`: its path, as it was given;
- how the joints were looked for (`SearchRecord`): `image_size` (`width`, `height`, px), `frame` (the words of
  `FRAME`), `score` (what a joint's score is, in words), `mode` ("benchmark" or "demo"), `center` (`x`, `y`),
  `base_scale` (scaled px per image px), `multipliers` (of the base scale), `scales` (their products), `box_size` (px),
  `part_order` (a name);
- `joints`: a list of `name`, `x`, `y`, `score` and `confidence` (the score as a share of a sure net's, 0 to 1), in the
  order of the net's parts;
- `place`: how it came about where the person was looked for (`PLACES`);
- `model`: `name` (of the zoo's models only), `net` and `weights`, each with `file` and `sha256`;
- `people`, where several were looked for: a list (`PersonRecord`) of everybody, the person above first.

The file of an image whose people the release's notebook found: `image`, `image_size`, `frame`, `score`, `mode`
("notebook"), `resize_scale` (px of the resized image per image px), `box_size`, `part_order`, `people`, `person_model`,
`model`.

The file of a video: `video`, `rate` (frames per second, null where the file does not say), how the joints were looked
for, `model`, `frames` (one line each: `index`, `time` in seconds, `joints`), and at the end `frame_count`,
`declared_frames` (what the file claims, null where it does not) and `complete`. It is written frame by frame. Where
everybody was followed, frames hold `people` (`PersonRecord`, whose `id` stays), and there is no one place looked at.
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.files.json_text import read_json
from cpm_port.predictions.image_results import ImageResult, NotebookResult
from cpm_port.predictions.video_results import VideoResult

__all__ = ["read_result"]


def read_result(path: Path) -> ImageResult | NotebookResult | VideoResult:
    """Read a file that `cpm-port predict` wrote.

    Raises
    ------
    DataError
        Not readable JSON, or not such a result; the message says where.
    """
    content = read_json(path)
    if isinstance(content, dict) and "video" in content:
        return VideoResult.from_json(content, str(path))
    if isinstance(content, dict) and content.get("mode") == "notebook":
        return NotebookResult.from_json(content, str(path))
    return ImageResult.from_json(content, str(path))
