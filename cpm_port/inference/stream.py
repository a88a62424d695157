"""Many people through a net, in order and in bounded memory: folders, videos, whatever can be iterated.

Where in the flow: around `predict.py`. Three things happen at the same time: one thread takes people from the caller's
iterator (so a video's frames are decoded there), a few threads read their images and make their pyramids (and, for a
GPU, the matrices of the way back), and the thread that asks for the results runs the net and takes the peaks. A GPU is
given the next group of people before the results of the one before are waited for, so that it always has work.

Memory: at most `ahead` people wait, with image and pyramid, for their turn in the net, and `batch_people` more are in
it (on a GPU twice as many), whatever the length; the net's blobs are bounded by `max_batch`.

Errors: what goes wrong with one person (an image that cannot be read, a center beside it, beliefs that are not finite)
is that person's outcome, and the others go on. What goes wrong with the iterator, or with the net itself, is raised
where the results are asked for, after the people before it.

The end: exhausting the stream, closing it, letting go of it, or an exception in the thread that asks (KeyboardInterrupt
too) ends the other threads. That waits for the image or frame that is being read, and for nothing else.

Results are those of `predict_person` for each person alone, but for the last bits where a convolution library sums in
another order for another number of images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import CpmPortError, UsageError
from cpm_port.imaging.pyramid import Pyramid, ScaleSearch, build_pyramid
from cpm_port.inference.beliefs import WayBack, way_back
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.predict import (
    Beliefs,
    MapWindow,
    Mode,
    Prediction,
    device_of,
    largest_batch,
    queue_finite_check,
    queue_gather,
    run_people,
)
from cpm_port.parts import PartOrder

__all__ = ["Outcome", "PersonToFind", "predict_stream"]

Image = NDArray[np.uint8]
ImageSize = tuple[int, int]
_Preparation = Callable[[Pyramid], WayBack | None]
_T = TypeVar("_T")
WindowRule = Callable[[ImageSize, ScaleSearch], MapWindow]

THREADS = "cpm_port.stream"  # how their names begin
_GPU_PEOPLE = 4
_MAKERS = 2  # threads that read images and make pyramids; each pyramid has threads of its own


@dataclass(frozen=True, eq=False)
class PersonToFind:
    """A person to find.

    Attributes
    ----------
    name : str
        Who that is, in the outcome.
    image : ndarray, shape (H, W, 3), uint8, BGR; or callable
        The image, or how to read it; it is then read on another thread.
    search : ScaleSearch, or callable
        Where to look; or the rule for it, from the image's height and width (`lsp_search`, for instance).
    """

    name: str
    image: Image | Callable[[], Image]
    search: ScaleSearch | Callable[[ImageSize], ScaleSearch]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a person: a prediction, or the error that kept it from being made.

    Attributes
    ----------
    name : str
    image : ndarray or None
        The person's image, where it could be read.
    prediction : Prediction or None
    error : Exception or None
    """

    name: str
    image: Image | None = None
    prediction: Prediction | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class _Made:
    """A person with everything that the net needs, or with an outcome already: an error."""

    outcome: Outcome
    search: ScaleSearch | None = None
    pyramid: Pyramid | None = None
    way: WayBack | None = None


def predict_stream(
    net: BeliefNet,
    people: Iterable[PersonToFind],
    mode: Mode = "benchmark",
    *,
    part_order: PartOrder | None = None,
    sigma: float | None = None,
    stage_window: WindowRule | None = None,
    batch_people: int | None = None,
    max_batch: int | None = None,
    ahead: int = 3,
) -> Generator[Outcome]:
    """Find people's joints, one after another.

    Parameters
    ----------
    net : BeliefNet
    people : iterable of PersonToFind
        Taken as the stream goes on, never more than `ahead + batch_people` beyond the last outcome given, on a GPU
        `batch_people` more. An iterator is not closed at the end: it is the caller's.
    mode, part_order, sigma
        As of `predict_person`.
    stage_window : callable, optional
        Image's height and width, search -> the rows and columns at which to keep every stage's maps.
    batch_people : int, optional
        How many people go through the net together; by default one on a CPU, whose caches a single person fills, and
        four on a GPU (a guess: no GPU was there to measure on). A GPU's last group is filled up, where a whole one was
        before it: its graph is there.
    max_batch : int, optional
        How many boxes may go through the net at once; by default `largest_batch`, asked once.
    ahead : int
        How many people may wait for the net.

    Returns
    -------
    generator of Outcome
        In the order of `people`. Close it (`contextlib.closing`) where it is not exhausted.

    Raises
    ------
    UsageError
        The net is no pose net, or a number is not positive.
    """
    interface = read_interface(net, part_order, sigma)
    if mode not in ("benchmark", "demo"):
        raise UsageError(f"mode {mode!r}: expected 'benchmark' or 'demo'")
    if batch_people is None:
        batch_people = 1 if device_of(net).type == "cpu" else _GPU_PEOPLE
    if max_batch is None:
        max_batch = largest_batch(net, list(interface.stages.values()) if stage_window is not None else [])
    for name, value in (("batch_people", batch_people), ("max_batch", max_batch), ("ahead", ahead)):
        if value < 1:
            raise UsageError(f"{name} is {value}, expected at least 1")

    groups = _groups(iter(people), interface.box_size, _preparation(net, interface), batch_people, ahead)
    return _predicted(net, interface, mode, stage_window, max_batch, groups)


def _preparation(net: BeliefNet, interface: NetInterface) -> _Preparation:
    """Return what a thread makes beside the pyramid: for a GPU the way back, so that its own thread need not."""
    if device_of(net).type == "cpu":
        return lambda pyramid: None
    height, width = net.blob_shapes[interface.output][2:]
    return lambda pyramid: way_back(tuple(pyramid.geometries), (height, width))


def _predicted(
    net: BeliefNet,
    interface: NetInterface,
    mode: Mode,
    stage_window: WindowRule | None,
    max_batch: int,
    groups: Generator[list[_Made]],
) -> Generator[Outcome]:
    """Yield the outcomes of one group after another."""
    with closing(groups):
        if device_of(net).type == "cpu":
            for group in groups:
                beliefs = _seen(net, interface, stage_window, max_batch, group, 0)
                while group:
                    yield _queue_outcome(net, interface, mode, stage_window, group.pop(0), beliefs)()
            return
        for queued in _one_behind(_queued_groups(net, interface, mode, stage_window, max_batch, groups)):
            while queued:
                yield queued.pop(0)()  # so that its image can go as soon as the caller lets go of it


def _queued_groups(
    net: BeliefNet,
    interface: NetInterface,
    mode: Mode,
    stage_window: WindowRule | None,
    max_batch: int,
    groups: Iterator[list[_Made]],
) -> Iterator[list[Callable[[], Outcome]]]:
    """Give a GPU one group's work after another; what waits for each outcome is yielded."""
    whole = 0
    for group in groups:
        beliefs = _seen(net, interface, stage_window, max_batch, group, whole)
        whole = max(whole, len(group))
        yield [_queue_outcome(net, interface, mode, stage_window, made, beliefs) for made in group]


def _one_behind(items: Iterator[_T]) -> Iterator[_T]:
    """Yield each item when the next one has been asked for; an error comes after the items before it."""
    before: list[_T] = []
    try:
        for item in items:
            yield from before
            before = [item]
            del item
    except Exception:
        yield from before
        raise
    yield from before


def _groups(
    people: Iterator[PersonToFind], box_size: int, prepare: _Preparation, batch_people: int, ahead: int
) -> Generator[list[_Made]]:
    """Yield the people that go through the net together; threads make their pyramids, and end with the generator."""
    taker = ThreadPoolExecutor(1, f"{THREADS}.taker")
    makers = ThreadPoolExecutor(_MAKERS, f"{THREADS}.maker")
    waiting: deque[Future[_Made | None]] = deque()

    def refill() -> None:
        while len(waiting) < ahead:
            waiting.append(makers.submit(_make, taker.submit(next, people, None), box_size, prepare))

    ended, failure = False, None
    try:
        while not ended:
            group: list[_Made] = []
            while len(group) < batch_people and not ended:
                refill()
                try:
                    made = waiting.popleft().result()
                except Exception as error:  # the iterator's; the people before it come first
                    made, failure = None, error
                ended = made is None
                group += [made] if made is not None else []
            del made
            if not ended:
                refill()
            yield group
        if failure is not None:
            raise failure
    finally:
        for future in waiting:
            future.cancel()
        taker.shutdown(cancel_futures=True)
        makers.shutdown(cancel_futures=True)


def _make(taken: Future[PersonToFind | None], box_size: int, prepare: _Preparation) -> _Made | None:
    """Read a person's image and make the pyramid; None where no person is left. Runs on a thread."""
    person = taken.result()
    if person is None:
        return None
    outcome = Outcome(person.name)
    try:
        image = person.image() if callable(person.image) else person.image
        outcome = replace(outcome, image=image)
        search = person.search((image.shape[0], image.shape[1])) if callable(person.search) else person.search
        pyramid = build_pyramid(image, search.center_xy, search.scales, box_size)
        return _Made(outcome, search, pyramid, prepare(pyramid))
    except Exception as error:
        return _Made(replace(outcome, error=error))


def _seen(
    net: BeliefNet,
    interface: NetInterface,
    stage_window: WindowRule | None,
    max_batch: int,
    group: Sequence[_Made],
    whole: int,
) -> deque[Beliefs]:
    """Run the net once on a group of people, filled up to `whole` with the last one; return the people's beliefs."""
    pyramids = [made.pyramid for made in group if made.pyramid is not None]
    if not pyramids:
        return deque()
    filled = pyramids + pyramids[-1:] * (whole - len(pyramids))
    try:
        beliefs = run_people(net, interface, filled, stages=stage_window is not None, max_batch=max_batch)
    except Exception as error:
        error.add_note("in the net: " + ", ".join(made.outcome.name for made in group))
        raise
    return deque(beliefs[: len(pyramids)])


def _queue_outcome(
    net: BeliefNet,
    interface: NetInterface,
    mode: Mode,
    stage_window: WindowRule | None,
    made: _Made,
    beliefs: deque[Beliefs],
) -> Callable[[], Outcome]:
    """Begin to take a person's peaks from the next of the beliefs; on a GPU only what is returned waits."""
    outcome = made.outcome
    if made.pyramid is None or made.search is None:
        return lambda: outcome
    own, geometries = beliefs.popleft(), made.pyramid.geometries
    try:
        check = queue_finite_check(own.final, net, interface)
        window = None if stage_window is None else stage_window(geometries[0].image_size, made.search)
        prediction = queue_gather(own, geometries, interface, made.search, mode, stage_window=window, way=made.way)
    except CpmPortError as error:
        failed = replace(outcome, error=error)
        return lambda: failed

    def finished() -> Outcome:
        try:
            check()
            return replace(outcome, prediction=prediction())
        except CpmPortError as error:
            return replace(outcome, error=error)

    return finished
