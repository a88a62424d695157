"""A video's joints: in every frame as JSON, and the video with the limbs drawn.

Where in the flow: beside `run.py`'s images. Both files are written while the frames go by, so memory does not grow
with the video's length; the JSON has one line per frame. Both appear when they are complete, the JSON last.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing

from tqdm import tqdm

from cpm_port.errors import CpmPortError, DataError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.names import printable
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.imaging.video import VideoReader, VideoWriter
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.results import joint_records, search_record
from cpm_port.inference.stream import Outcome, Person, predict_stream
from cpm_port.inference.targets import Target
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.predictions.results import FrameRecord, VideoHead, VideoResultWriter
from cpm_port.report.drawing import draw_joints

__all__ = ["predict_video"]


def predict_video(target: Target, model: ReadyNet, where: Whereabouts) -> None:
    """Predict every frame, looking at the same place in all of them; a bar on standard error follows.

    Parameters
    ----------
    target : Target
    model : ReadyNet
    where : Whereabouts
        Of the person in every frame.

    Raises
    ------
    MissingFileError, DataError
        No video, or a frame that cannot be taken: nothing is written. Or a video that ends before its time: the
        results of its frames are written, and say that they are not complete.
    KeyboardInterrupt
        After the results of the frames that were done are written; they, too, say that they are not complete.
    """
    times: deque[float] = deque()
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(target.path))
        search = where.search(video.size, model.interface.box_size)
        text_path = stack.enter_context(atomic_path(target.json))
        video_path = stack.enter_context(atomic_path(target.joints))
        text = stack.enter_context(text_path.open("w", encoding="utf-8"))
        bar = stack.enter_context(
            tqdm(total=video.declared, desc=target.path.name, unit="frame", leave=False, disable=None, file=sys.stderr)
        )
        frames = _frames(video, search, times)
        outcomes = stack.enter_context(closing(predict_stream(model.net, frames, where.mode, sigma=model.sigma)))
        result = writer = interrupt = None
        try:
            for index, outcome in enumerate(outcomes):
                _refuse_broken_frame(target, outcome)
                assert outcome.prediction is not None
                assert outcome.image is not None
                drawn = draw_joints(outcome.image, outcome.prediction.joints_image, outcome.prediction.part_order)
                if result is None or writer is None:
                    writer = stack.enter_context(VideoWriter(video_path, video.rate, (drawn.shape[0], drawn.shape[1])))
                    head = VideoHead(
                        printable(target.path), video.rate, search_record(outcome.prediction), model.record
                    )
                    result = VideoResultWriter(text, head)
                writer.write(drawn)
                result.add(FrameRecord(index, times.popleft(), joint_records(outcome.prediction)))
                bar.update()
        except KeyboardInterrupt as stop:
            if result is None:
                raise
            interrupt = stop
        if result is not None:
            result.end(video.declared, interrupt is None and not video.cut_short)
    if interrupt is not None:
        raise interrupt
    if video.cut_short:
        raise DataError(
            f"{target.path}: cut short: it holds {video.count} of the {video.declared} frames that it claims; "
            "the results are of those"
        )


def _frames(video: VideoReader, search: ScaleSearch, times: deque[float]) -> Iterator[Person]:
    """Yield the frames as people to be found; their times are put aside."""
    for index, (time, frame) in enumerate(video):
        times.append(time)
        yield Person(f"frame {index}", frame, search)


def _refuse_broken_frame(target: Target, outcome: Outcome) -> None:
    if isinstance(outcome.error, CpmPortError):
        raise DataError(f"{target.path}: {outcome.name}: {outcome.error}") from outcome.error
    if outcome.error is not None:
        raise outcome.error
