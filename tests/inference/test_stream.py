"""Claim: a stream gives what `predict_person` gives for each person alone, in order, in bounded memory, whatever fails.

Oracles: `predict_person`; counts of what was taken, read and run; the names of the threads that are left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from cpm_port.errors import CpmPortError, MissingFileError, ModelFileError, UsageError
from cpm_port.graph import CaffeNet
from cpm_port.imaging.pyramid import ScaleSearch, lsp_search
from cpm_port.inference.predict import Prediction, predict_person
from cpm_port.inference.stream import THREADS, PersonToFind, predict_stream
from tests.inference.nets import BOX, Spy, colour_net

WAIT = 20.0  # seconds after which something that should happen has not


@pytest.fixture(scope="module")
def net() -> CaffeNet:
    return colour_net()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(THREADS)] == []


def picture(seed: int, height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def crowd(count: int) -> list[PersonToFind]:
    """Return people in images of several sizes, given as arrays or to be read, with searches or rules for them."""
    people = []
    for i in range(count):
        image = picture(i, 60 + 10 * (i % 3), 100 - 7 * (i % 4))
        read = partial(picture, i, *image.shape[:2])
        search = ScaleSearch((40.0 + i, 35.0), 0.5 + 0.05 * i, (0.7, 1.0, 1.2, 1.5)[: 2 + i % 3])
        people.append(
            PersonToFind(f"p{i}", image if i % 2 else read, partial(lsp_search, box_size=BOX) if i == 3 else search)
        )
    return people


def alone(net: CaffeNet, person: PersonToFind, mode: str = "benchmark", **options: object) -> Prediction:
    image = person.image() if callable(person.image) else person.image
    search = person.search(image.shape[:2]) if callable(person.search) else person.search
    return predict_person(net, image, search.center_xy, search.base_scale, search.multipliers, mode, **options)  # type: ignore[arg-type]


def window(size: tuple[int, int], search: ScaleSearch) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(0, size[0], 9), np.arange(0, size[1], 8)


@pytest.mark.parametrize("mode", ["benchmark", "demo"])
@pytest.mark.parametrize(("batch_people", "max_batch", "ahead"), [(1, None, 3), (1, 2, 1), (3, None, 2), (4, 3, 8)])
def test_each_outcome_is_that_of_the_person_alone(
    net: CaffeNet, mode: str, batch_people: int, max_batch: int | None, ahead: int
) -> None:
    people = crowd(7)
    found = predict_stream(
        net,
        people,
        mode,  # type: ignore[arg-type]
        stage_window=window,
        batch_people=batch_people,
        max_batch=max_batch,
        ahead=ahead,
    )
    outcomes = list(found)
    assert [outcome.name for outcome in outcomes] == [f"p{i}" for i in range(7)]
    for person, outcome in zip(people, outcomes, strict=True):
        assert outcome.error is None
        assert outcome.prediction is not None
        assert outcome.image is not None
        own = window(outcome.image.shape[:2], outcome.prediction.search)
        expected = alone(net, person, mode, stage_window=own)
        assert (outcome.prediction.joints_image == expected.joints_image).all()
        np.testing.assert_allclose(outcome.prediction.scores, expected.scores, rtol=1e-6)
        assert outcome.prediction.search == expected.search
        assert outcome.prediction.mode == mode
        for stage, maps in expected.stage_maps.items():
            np.testing.assert_allclose(outcome.prediction.stage_maps[stage], maps, atol=1e-5)


def test_people_share_forwards_as_far_as_the_bound_allows(net: CaffeNet) -> None:
    people = [PersonToFind(str(i), picture(i), ScaleSearch((50.0, 40.0), 0.6, (0.8, 1.0, 1.2))) for i in range(5)]
    for options, sizes in (
        ({}, [3, 3, 3, 3, 3]),
        ({"batch_people": 2}, [6, 6, 3]),
        ({"batch_people": 5}, [15]),
        ({"batch_people": 5, "max_batch": 4}, [4, 4, 4, 3]),
        ({"max_batch": 2}, [2, 1] * 5),
    ):
        spy = Spy(net)
        assert len(list(predict_stream(spy, people, **options))) == 5
        assert [shape[0] for shape, _ in spy.calls] == sizes


def test_a_slow_image_keeps_its_place(net: CaffeNet) -> None:
    def slow() -> np.ndarray:
        time.sleep(0.2)
        return picture(0)

    search = ScaleSearch((50.0, 40.0), 0.6, (1.0,))
    people = [PersonToFind(str(i), slow if i in (0, 2) else picture(i), search) for i in range(5)]
    assert [outcome.name for outcome in predict_stream(net, people, ahead=4)] == list("01234")


class Guarded(Spy):
    """A net that calls back in every forward."""

    def __init__(self, net: CaffeNet, during: Callable[[int], None]) -> None:
        super().__init__(net)
        self.during = during

    def __call__(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        self.during(len(self.calls))
        return super().__call__(inputs, blobs)


def test_images_are_read_while_the_net_runs(net: CaffeNet) -> None:
    begun = [threading.Event() for _ in range(3)]
    go = threading.Event()

    def read(index: int) -> np.ndarray:
        assert threading.current_thread().name.startswith(THREADS)
        if index == 2:
            assert go.wait(WAIT)  # until the net has run once: this image is read during the first forward
        begun[index].set()
        return picture(index)

    def during(forward: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        if forward == 0:
            go.set()
            assert begun[2].wait(WAIT)

    search = ScaleSearch((50.0, 40.0), 0.6, (1.0,))
    people = [PersonToFind(str(i), partial(read, i), search) for i in range(3)]
    outcomes = list(predict_stream(Guarded(net, during), people))
    assert [outcome.error for outcome in outcomes] == [None] * 3


@pytest.mark.parametrize(("batch_people", "ahead"), [(1, 1), (1, 3), (2, 2), (4, 1)])
def test_never_more_people_are_taken_than_may_wait(net: CaffeNet, batch_people: int, ahead: int) -> None:
    taken = 0

    def source() -> Iterator[PersonToFind]:
        nonlocal taken
        for i in range(20):
            taken += 1
            yield PersonToFind(str(i), picture(i), ScaleSearch((50.0, 40.0), 0.6, (1.0,)))

    stream = predict_stream(net, source(), batch_people=batch_people, ahead=ahead)
    for given, _ in enumerate(stream):
        time.sleep(0.005)  # time enough to take more, if it did
        assert taken <= given + batch_people + ahead
    assert taken == 20


@pytest.mark.parametrize("batch_people", [1, 3, 6])
def test_what_goes_wrong_with_one_person_is_their_outcome(net: CaffeNet, batch_people: int) -> None:
    def absent() -> np.ndarray:
        raise MissingFileError("gone.png: no such image")

    def rule(size: tuple[int, int]) -> ScaleSearch:
        raise UsageError("no rule for this one")

    people = crowd(6)
    people[1] = PersonToFind("unread", absent, people[1].search)
    people[2] = PersonToFind("beside", picture(2), ScaleSearch((9000.0, 9000.0), 0.5))
    people[4] = PersonToFind("unruly", picture(4), rule)
    outcomes = list(predict_stream(net, people, batch_people=batch_people))
    assert [outcome.name for outcome in outcomes] == ["p0", "unread", "beside", "p3", "unruly", "p5"]
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        MissingFileError,
        UsageError,
        type(None),
        UsageError,
        type(None),
    ]
    assert outcomes[1].image is None
    assert outcomes[2].image is not None
    assert "no box about it touches the image" in str(outcomes[2].error)
    for index in (0, 3, 5):
        prediction = outcomes[index].prediction
        assert prediction is not None
        assert (prediction.joints_image == alone(net, people[index]).joints_image).all()


def test_beliefs_that_are_not_finite_are_the_fault_of_one_person_only(net: CaffeNet) -> None:
    outcomes = list(predict_stream(Spy(net, spoil=float("nan")), crowd(3), batch_people=3))  # spoils the last box
    assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), ModelFileError]


def test_an_iterator_that_fails_is_reported_after_those_before_it(net: CaffeNet) -> None:
    def source() -> Iterator[PersonToFind]:
        yield from crowd(4)
        raise CpmPortError("the film broke")

    for batch_people in (1, 3):
        stream = predict_stream(net, source(), batch_people=batch_people)
        assert [next(stream).name for _ in range(4)] == ["p0", "p1", "p2", "p3"]
        with pytest.raises(CpmPortError, match="the film broke"):
            next(stream)


def test_a_net_that_fails_says_in_whose_forward(net: CaffeNet) -> None:
    def during(forward: int) -> None:
        if forward == 1:
            raise RuntimeError("out of memory")

    stream = predict_stream(Guarded(net, during), crowd(6), batch_people=2)
    assert [next(stream).name, next(stream).name] == ["p0", "p1"]
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        next(stream)
    assert caught.value.__notes__ == ["in the net: p2, p3"]


def test_closing_ends_all_threads(net: CaffeNet) -> None:
    with closing(predict_stream(net, iter(crowd(7)))) as stream:
        next(stream)
        assert any(thread.name.startswith(THREADS) for thread in threading.enumerate())
    assert not any(thread.name.startswith(THREADS) for thread in threading.enumerate())


def test_an_interrupt_ends_all_threads(net: CaffeNet) -> None:
    def during(forward: int) -> None:
        if forward == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(predict_stream(Guarded(net, during), crowd(7)))
    assert not any(thread.name.startswith(THREADS) for thread in threading.enumerate())


def test_a_stream_that_nobody_asks_starts_nothing(net: CaffeNet) -> None:
    stream = predict_stream(net, crowd(2))
    assert not any(thread.name.startswith(THREADS) for thread in threading.enumerate())
    stream.close()


def test_an_empty_stream_is_empty(net: CaffeNet) -> None:
    assert list(predict_stream(net, [])) == []


def test_images_are_let_go(net: CaffeNet) -> None:
    alive: set[int] = set()

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def read(index: int) -> np.ndarray:
        image = picture(index).view(Tracked)
        alive.add(id(image))
        return image

    search = ScaleSearch((50.0, 40.0), 0.6, (1.0,))
    people = (PersonToFind(str(i), partial(read, i), search) for i in range(30))
    most = 0
    for _ in predict_stream(net, people, ahead=2):
        most = max(most, len(alive))
    assert most <= 5  # two that wait, the one in the net, the outcome at hand and the one before it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ahead": 0}, "ahead is 0"),
        ({"batch_people": 0}, "batch_people is 0"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"mode": "test"}, "mode 'test'"),
    ],
)
def test_senseless_arguments_are_refused_at_once(net: CaffeNet, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict_stream(net, [], **options)


def test_many_scales_go_through_the_net_in_passes(net: CaffeNet) -> None:
    """The demo looks at twelve scales and more; a bound on what goes through at once changes nothing in the result."""
    scales = tuple(0.5 + 0.1 * i for i in range(13))
    image = picture(1)
    whole = predict_person(net, image, (50.0, 40.0), 0.6, scales, "demo", keep_maps=True)
    for max_batch, sizes in ((13, [13]), (7, [7, 6]), (5, [5, 4, 4]), (1, [1] * 13)):
        spy = Spy(net)
        parts = predict_person(spy, image, (50.0, 40.0), 0.6, scales, "demo", keep_maps=True, max_batch=max_batch)
        assert [shape[0] for shape, _ in spy.calls] == sizes
        assert (parts.joints_image == whole.joints_image).all()
        assert parts.score_maps is not None
        np.testing.assert_allclose(parts.score_maps, whole.score_maps, atol=1e-6)
    with pytest.raises(UsageError, match="max_batch is 0"):
        predict_person(net, image, (50.0, 40.0), 0.6, scales, max_batch=0)


def test_the_net_says_how_many_boxes_fit(net: CaffeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    from cpm_port.engine import activations

    per_image = activations.bytes_per_image(net.spec, net.blob_shapes)
    monkeypatch.setattr(activations, "ACTIVATION_BOUND", 3 * per_image + 1)
    spy = Spy(net)
    predict_person(spy, picture(0), (50.0, 40.0), 0.6, (0.8, 0.9, 1.0, 1.1, 1.2))
    assert [shape[0] for shape, _ in spy.calls] == [3, 2]
    assert isinstance(spy.net, torch.nn.Module)


@pytest.mark.gpu
def test_on_a_gpu_errors_come_in_their_place_too_though_the_next_group_is_in_the_net_already() -> None:
    def source() -> Iterator[PersonToFind]:
        yield from crowd(3)
        yield PersonToFind("p3", partial(picture, 0), ScaleSearch((900.0, 900.0), 0.5, (1.0,)))
        yield from crowd(2)
        raise CpmPortError("the film broke")

    net = colour_net().cuda()
    stream = predict_stream(net, source(), batch_people=2)
    outcomes = [next(stream) for _ in range(6)]
    assert [outcome.name for outcome in outcomes] == ["p0", "p1", "p2", "p3", "p0", "p1"]
    assert [outcome.error is None for outcome in outcomes] == [True, True, True, False, True, True]
    with pytest.raises(CpmPortError, match="the film broke"):
        next(stream)

    forwards = 0

    def fail_at_the_second(module: object, inputs: object) -> None:
        nonlocal forwards
        forwards += 1
        if forwards == 2:
            raise RuntimeError("out of memory")

    net.register_forward_pre_hook(fail_at_the_second)
    stream = predict_stream(net, crowd(6), batch_people=2)
    assert [next(stream).name, next(stream).name] == ["p0", "p1"]
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        next(stream)
    assert caught.value.__notes__ == ["in the net: p2, p3"]


@pytest.mark.gpu
def test_a_gpu_takes_one_group_more_and_gives_what_each_person_alone_gets() -> None:
    taken = 0

    def source() -> Iterator[PersonToFind]:
        nonlocal taken
        for person in crowd(11):
            taken += 1
            yield person

    net = colour_net().cuda()
    for given, outcome in enumerate(predict_stream(net, source(), batch_people=2, ahead=3)):
        assert taken <= given + 2 * 2 + 3
        expected = alone(net, crowd(11)[given])
        assert outcome.prediction is not None
        assert (outcome.prediction.joints_image == expected.joints_image).all()
        np.testing.assert_allclose(outcome.prediction.scores, expected.scores, rtol=1e-5)
    assert taken == 11
