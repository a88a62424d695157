"""`cpm-port predict VIDEO`: the joints in every frame as JSON, and the video with the limbs drawn.

Both are written while the frames go by, so memory does not grow with the video's length; the JSON has one line per
frame. Both appear when they are complete, the JSON last.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cpm_port.cli._predict_results import dumped, joints_json, search_json
from cpm_port.errors import CpmPortError, DataError
from cpm_port.files.atomic import atomic_path

if TYPE_CHECKING:
    from cpm_port.imaging.pyramid import ScaleSearch
    from cpm_port.inference.interface import BeliefNet
    from cpm_port.inference.stream import Person

__all__ = ["predict_video", "video_result_suffixes"]


def video_result_suffixes() -> tuple[str, str]:
    """Return what follows the stem in the names of the results: the JSON's suffix, the drawn video's."""
    from cpm_port.imaging.video import written_suffix

    return ".json", f"_joints{written_suffix()}"


def predict_video(
    path: Path,
    stem: Path,
    net: BeliefNet,
    model: dict[str, Any],
    mode: Literal["benchmark", "demo"],
    choose_search: Callable[[tuple[int, int]], ScaleSearch],
    sigma: float | None = None,
) -> None:
    """Predict every frame, looking at the same place in all of them.

    Parameters
    ----------
    path, stem : Path
        The video; where its results go, without suffixes.
    net : BeliefNet
    model : dict
        What to say of the model.
    mode : {"benchmark", "demo"}
    choose_search : callable
        Height and width of the frames -> where to look.
    sigma : float, optional
        Of the center map, box px (`cpm_port.inference.interface.read_interface`).

    Raises
    ------
    MissingFileError, DataError
        No video, or a frame that cannot be taken: nothing is written. Or a video that ends before its time: the
        results of its frames are written, and say that they are not complete.
    """
    from tqdm import tqdm

    from cpm_port.imaging.video import VideoReader, VideoWriter
    from cpm_port.inference.stream import Person, predict_stream
    from cpm_port.report.drawing import draw_joints

    times: deque[float] = deque()

    def frames() -> Iterator[Person]:
        for index, (time, frame) in enumerate(video):
            times.append(time)
            yield Person(f"frame {index}", frame, search)

    json_suffix, video_suffix = video_result_suffixes()
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(path))
        search = choose_search(video.size)
        text_path = stack.enter_context(atomic_path(stem.with_name(stem.name + json_suffix)))
        video_path = stack.enter_context(atomic_path(stem.with_name(stem.name + video_suffix)))
        text = stack.enter_context(text_path.open("w", encoding="utf-8"))
        bar = stack.enter_context(
            tqdm(total=video.declared, desc=path.name, unit="frame", leave=False, file=sys.stderr)
        )
        outcomes = stack.enter_context(closing(predict_stream(net, frames(), mode, sigma=sigma)))
        writer = None
        for index, outcome in enumerate(outcomes):
            if outcome.error is not None:
                if not isinstance(outcome.error, CpmPortError):
                    raise outcome.error
                raise DataError(f"{path}: {outcome.name}: {outcome.error}") from outcome.error
            assert outcome.prediction is not None
            assert outcome.image is not None
            drawn = draw_joints(outcome.image, outcome.prediction.joints_image, outcome.prediction.part_order)
            if writer is None:
                size = (drawn.shape[0], drawn.shape[1])
                writer = stack.enter_context(VideoWriter(video_path, video.rate, size))
                head = {"video": str(path), "rate": video.rate, **search_json(outcome.prediction), "model": model}
                text.write(dumped(head, indent=2).removesuffix("\n}") + ',\n  "frames": [')
            writer.write(drawn)
            line = {"index": index, "time": times.popleft(), "joints": joints_json(outcome.prediction)}
            text.write(("," if index else "") + "\n    " + dumped(line))
            bar.update()
        tail = {"frame_count": video.count, "declared_frames": video.declared, "complete": not video.cut_short}
        text.write("\n  ],\n" + dumped(tail, indent=2).removeprefix("{\n") + "\n")
    if video.cut_short:
        raise DataError(
            f"{path}: cut short: it holds {video.count} of the {video.declared} frames that it claims; "
            "the results are of those"
        )
