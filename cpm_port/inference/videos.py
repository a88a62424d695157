"""A video's people: in every frame as JSON, and the video with the limbs drawn.

Where in the flow: beside `run.py`'s images. Either one person, looked for at one place in all frames (`predict_video`),
or everybody, each with a number that stays (`follow_video`). Both files are written while the frames go by, so memory
does not grow with the video's length; the JSON has one line per frame. Both appear when they are complete, the JSON
last. Frames are decoded on one thread, and drawn and encoded on another, while the net runs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.compute.threads import ahead
from cpm_port.errors import CpmPortError, DataError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.names import printable
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.imaging.video import VideoReader, VideoWriter
from cpm_port.inference.following import Follower
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.results import joint_records, search_record
from cpm_port.inference.stream import Outcome, PersonToFind, predict_stream
from cpm_port.inference.targets import Target
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.predictions.video_results import FollowedHead, FrameRecord, VideoHead, VideoResultWriter
from cpm_port.report.drawing import draw_joints, draw_poses

__all__ = ["follow_video", "predict_video"]


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
    with VideoReader(target.path) as video:
        frames = _frames(video, where.search(video.size, model.interface.box_size), times)
        with (
            _results(target, video) as results,
            closing(
                predict_stream(model.net, frames, where.mode, part_order=model.interface.part_order, sigma=model.sigma)
            ) as outcomes,
        ):
            for outcome in outcomes:
                _refuse_broken_frame(target, outcome)
                found, image = outcome.prediction, outcome.image
                assert found is not None
                assert image is not None
                if not results.given:
                    results.begin(VideoHead(printable(target.path), video.rate, search_record(found), model.record))
                frame = FrameRecord(results.given, times.popleft(), joint_records(found))
                results.add(frame, partial(draw_joints, image, found.joints_image, found.part_order))


def follow_video(target: Target, model: ReadyNet, where: Whereabouts) -> None:
    """Find everybody in every frame, and know them again; a bar on standard error follows.

    Parameters
    ----------
    target : Target
    model : ReadyNet
    where : Whereabouts
        Scales and mode.

    Raises
    ------
    MissingFileError, DataError, KeyboardInterrupt
        As of `predict_video`.
    """
    order, follower, name = model.interface.part_order, Follower(model, where), printable(target.path)
    with VideoReader(target.path) as video, _results(target, video) as results, closing(ahead(video)) as frames:
        box_size = model.interface.box_size
        results.begin(FollowedHead(name, video.rate, video.size, where.mode, box_size, order.name, model.record))
        for time, image in frames:
            people = follower.follow(image)
            frame = FrameRecord(results.given, time, (), tuple(person.record() for person in people))
            poses, ids = [person.joints for person in people], [person.id for person in people]
            results.add(frame, partial(draw_poses, image, poses, order, ids))


_WAITING = 4  # frames that are predicted and not yet encoded, at most


class _VideoResults:
    """The two files of a video's results while its frames go by; a thread draws and encodes.

    Attributes
    ----------
    count : int
        How many frames are in them.
    given : int
        How many were added: some may wait to be drawn.
    """

    def __init__(self, text: TextIO, path: Path, video: VideoReader, bar: tqdm, stack: ExitStack) -> None:
        self._text, self._path, self._video, self._bar, self._stack = text, path, video, bar, stack
        self._writer: VideoWriter | None = None
        self._records: VideoResultWriter | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cpm_port.writer")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        self.count = self.given = 0

    def begin(self, head: VideoHead | FollowedHead) -> None:
        """Write what is known before the first frame."""
        self._records = VideoResultWriter(self._text, head)

    def add(self, frame: FrameRecord, draw: Callable[[], NDArray[np.uint8]]) -> None:
        """Write a frame's people, and soon its picture with their limbs: `draw()` gives it, (H, W, 3), BGR."""
        while len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._write, frame, draw))
        self.given += 1

    def _write(self, frame: FrameRecord, draw: Callable[[], NDArray[np.uint8]]) -> None:
        """Write a frame, on the thread; none after one that failed."""
        if self._failed:
            return
        self._failed = True
        assert self._records is not None
        drawn = draw()
        if self._writer is None:
            size = drawn.shape[0], drawn.shape[1]
            self._writer = self._stack.enter_context(VideoWriter(self._path, self._video.rate, size))
        self._writer.write(drawn)
        self._records.add(frame)
        self._bar.update()
        self.count += 1
        self._failed = False

    def wait(self) -> None:
        """Wait until all frames are written; raise what went wrong."""
        while self._waiting:
            self._waiting.popleft().result()

    def stop(self) -> None:
        """End the thread, after the frames that wait."""
        self._thread.shutdown()

    def end(self, *, interrupted: bool) -> None:
        """Write how many frames there were, and whether these are all."""
        assert self._records is not None
        self._records.end(self._video.declared, not interrupted and not self._video.cut_short)


@contextmanager
def _results(target: Target, video: VideoReader) -> Iterator[_VideoResults]:
    """Open the files of a video's results; they stay where frames are done, also if no more follow.

    Raises
    ------
    DataError
        At the end: the video holds fewer frames than it claims.
    """
    interrupt = None
    with ExitStack() as stack:
        text_path = stack.enter_context(atomic_path(target.json))
        video_path = stack.enter_context(atomic_path(target.joints))
        text = stack.enter_context(text_path.open("w", encoding="utf-8"))
        bar = stack.enter_context(
            tqdm(total=video.declared, desc=target.path.name, unit="frame", leave=False, disable=None, file=sys.stderr)
        )
        results = _VideoResults(text, video_path, video, bar, stack)
        try:
            try:
                yield results
                results.wait()
            finally:
                results.stop()
        except KeyboardInterrupt as stop:
            if not results.count:
                raise
            interrupt = stop
        results.end(interrupted=interrupt is not None)
    if interrupt is not None:
        raise interrupt
    if video.cut_short:
        raise DataError(
            f"{target.path}: cut short: it holds {video.count} of the {video.declared} frames that it claims; "
            "the results are of those"
        )


def _frames(video: VideoReader, search: ScaleSearch, times: deque[float]) -> Iterator[PersonToFind]:
    """Yield the frames as people to be found; their times are put aside."""
    for index, (time, frame) in enumerate(video):
        times.append(time)
        yield PersonToFind(f"frame {index}", frame, search)


def _refuse_broken_frame(target: Target, outcome: Outcome) -> None:
    if isinstance(outcome.error, CpmPortError):
        raise DataError(f"{target.path}: {outcome.name}: {outcome.error}") from outcome.error
    if outcome.error is not None:
        raise outcome.error
