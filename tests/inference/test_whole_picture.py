"""Claim: whoever stands anywhere in a picture is found, and who fills it from the middle is left to LSP's rule.

Oracles: a net whose joints are known (nets.py); geometry by hand; drawn people, whose joints are exact, for the default
model: a bar that LSP's rule alone stays far below.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cpm_port import load_net
from cpm_port.drawn.source import DrawnPeople
from cpm_port.engine import accelerate
from cpm_port.errors import ModelFileError, ShapeError, UsageError
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.imaging.pyramid import ScaleSearch, lsp_search, mpii_search
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whole_picture import SHARES, Place, find_person, moved_to, survey
from cpm_port.parts import CPM14
from cpm_port.zoo import resolve
from tests.inference.nets import BOX, Spy, colour_net

PEOPLE = 4
FOUND = 0.4  # of the joints, within 0.2 torsos: the model finds about 0.6, LSP's rule next to none


@pytest.mark.parametrize("size", [(300, 400), (90, 133)])
@pytest.mark.parametrize("at", [(0.5, 0.5), (0.12, 0.15), (0.85, 0.8)])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_survey_has_a_hypothesis_with_the_joints_where_they_are(
    size: tuple[int, int], at: tuple[float, float], share: float
) -> None:
    tall = share * max(size)
    middle = round(at[0] * size[1]), round(at[1] * size[0])
    image = spots(*size, middle, tall, max(2, round(tall / 8)))
    inside = [(c, y, x) for c, y, x in parts_at(middle, tall) if 0 <= y < size[0] and 0 <= x < size[1]]
    seen = survey(colour_net(), read_interface(colour_net()), image)
    away = [
        max(np.hypot(*(one.joints[part] / seen.shrink - (x, y))) for part, y, x in inside) for one in seen.hypotheses
    ]
    assert min(away) <= 0.15 * tall


def test_a_survey_is_one_pass_for_each_height_that_a_person_can_have() -> None:
    for longer, heights in ((400, 3), (20, 2), (7, 0)):
        net = Spy(colour_net())
        seen = survey(net, read_interface(net), np.zeros((longer, longer // 2, 3), np.uint8))
        assert len(net.calls) == heights == sum(share * longer >= 8 for share in SHARES)
        assert len(seen.hypotheses) <= 30 * heights


def test_nobody_is_meant_in_a_survey() -> None:
    inputs: list[np.ndarray] = []

    class Watched(Spy):
        def __call__(self, given, blobs=None):  # type: ignore[no-untyped-def]
            inputs.extend(blob.numpy().copy() for blob in given.values())
            return super().__call__(given, blobs)

    net = Watched(colour_net())
    survey(net, read_interface(net), np.full((60, 80, 3), 200, np.uint8))
    assert all((blob[:, 3] == 0).all() and (blob[:, :3] > 0).any() for blob in inputs)


def test_a_place_moves_to_the_middle_of_the_joints_and_to_the_longer_side_of_their_box() -> None:
    joints = np.array([[10.0, 20.0], [50.0, 120.0], [30.0, 60.0]])
    assert moved_to(joints, Place(0.0, 0.0, 90.0)) == (30.0, 70.0, 100.0)


@pytest.mark.parametrize(("before", "after"), [(10.0, 16.0), (320.0, 200.0)])
def test_a_height_changes_by_no_more_than_a_factor(before: float, after: float) -> None:
    joints = np.array([[10.0, 20.0], [50.0, 120.0]])
    assert moved_to(joints, Place(0.0, 0.0, before)).height == pytest.approx(after)


def test_a_place_is_looked_at_as_mpiis_people_are() -> None:
    search = Place(3.0, 4.0, 100.0).search(BOX, (1.0,))
    assert search == ScaleSearch((3.0, 4.0), mpii_search((3.0, 4.0), 0.5, BOX).base_scale, (1.0,))


def parts_at(middle: tuple[int, int], tall: float) -> list[tuple[int, int, int]]:
    """Return channel, row and column of the colour net's three parts, spread over `tall` px about a point."""
    spread = enumerate(((0.0, -0.5), (0.2, 0.0), (0.0, 0.5)))
    return [(channel, round(middle[1] + dy * tall), round(middle[0] + dx * tall)) for channel, (dx, dy) in spread]


def spots(height: int, width: int, middle: tuple[int, int], tall: float, radius: int) -> NDArray[np.uint8]:
    """Return a picture with squares of the parts' colours."""
    image = np.full((height, width, 3), 128, np.uint8)
    for channel, y, x in parts_at(middle, tall):
        image[max(0, y - radius) : max(0, y + radius), max(0, x - radius) : max(0, x + radius)] = 0
        image[max(0, y - radius) : max(0, y + radius), max(0, x - radius) : max(0, x + radius), channel] = 250
    return image


@pytest.mark.parametrize("zoom", [1, 5])
def test_parts_in_a_corner_are_found_in_pictures_of_any_size(zoom: int) -> None:
    image = spots(180 * zoom, 240 * zoom, (200 * zoom, 50 * zoom), 80 * zoom, 8 * zoom)
    search = find_person(colour_net(), image)
    assert search.center_xy == pytest.approx((204 * zoom, 50 * zoom), abs=16 * zoom)
    found = predict_person(colour_net(), image, search.center_xy, search.base_scale).joints_image
    assert np.allclose(found[:, 1], np.array([10, 50, 90]) * zoom, atol=10 * zoom)


def test_parts_that_fill_the_picture_from_its_middle_are_left_to_lsps_rule() -> None:
    image = spots(200, 140, (69, 99), 150, 24)
    assert find_person(colour_net(), image) == lsp_search((200, 140), BOX)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)])
def test_pictures_of_odd_sizes_are_looked_at(size: tuple[int, int]) -> None:
    search = find_person(colour_net(), np.full((*size, 3), 200, np.uint8))
    assert np.isfinite([*search.center_xy, search.base_scale]).all()


def test_what_is_no_picture_and_what_are_no_beliefs_is_refused() -> None:
    with pytest.raises(ShapeError, match="expected"):
        find_person(colour_net(), np.zeros((20, 20), np.uint8))
    with pytest.raises(ModelFileError, match="not finite"):
        find_person(Spy(colour_net(), spoil=float("nan")), np.zeros((20, 20, 3), np.uint8))


def test_the_default_model_finds_people_in_corners() -> None:
    choice = resolve()
    assert choice.entry is not None
    net, sigma = accelerate(load_net(choice.net, choice.weights)), choice.entry.center_sigma
    people = DrawnPeople(count=PEOPLE, size=192, seed=1002, difficulty=30)
    errors: dict[str, list[NDArray[np.float64]]] = {"searched": [], "rule": []}
    for i in range(PEOPLE):
        sample, image = people[i]
        height, width = image.shape[:2]
        large = np.full((height + 60 + 40 * i, width + 250 - 25 * i, 3), image.mean(axis=(0, 1)), np.uint8)
        top, left = (large.shape[0] - height) * (i % 2), (large.shape[1] - width) * (i // 2 % 2)
        large[top : top + height, left : left + width] = image
        truth = sample.person.joints + np.array([left, top])
        rule = lsp_search((large.shape[0], large.shape[1]), choice.entry.box[0])
        for name, at in (("searched", find_person(net, large, sigma=sigma)), ("rule", rule)):
            found = predict_person(net, large, at.center_xy, at.base_scale, at.multipliers, sigma=sigma).joints_image
            errors[name].append(normalized_errors(found[None], truth[None], torso_diameter(truth[None], CPM14)))
    share = {name: float((np.concatenate(values) <= 0.2).mean()) for name, values in errors.items()}
    print(share)
    assert share["searched"] >= FOUND, share
    assert share["searched"] >= 2 * share["rule"], share


def test_a_strip_too_flat_for_lsps_rule_is_searched_all_the_same() -> None:
    strip, net = np.full((2, 12_000, 3), 128, np.uint8), colour_net(box=192)
    rule = lsp_search((2, 12_000), 192)
    with pytest.raises(UsageError, match="larger than"):
        predict_person(net, strip, rule.center_xy, rule.base_scale)
    search = find_person(net, strip)
    assert predict_person(net, strip, search.center_xy, search.base_scale).joints_image.shape == (3, 2)
