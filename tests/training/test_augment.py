"""Claim: given its random numbers, examples are those of the authors' data layer; ours are distributed as its are.

Oracles: recorded draws, coordinates, images and maps of the original (`golden/caffe/transformer`, through `shared`); a
literal version that resizes, turns, crops and flips one after the other; SciPy's tests of distributions.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from cpm_port.caffe import parse_net, read_net
from cpm_port.errors import DataError, LayerError, UsageError
from cpm_port.imaging.warp import _resize_reference, _warp_reference
from cpm_port.parts import CPM14, FLIC9, MPII16
from cpm_port.records.lmdb import LmdbRecords
from cpm_port.records.record import Annotation, Record
from cpm_port.training.augment import (
    Augmentation,
    Draws,
    augment,
    blob_shapes,
    decide,
    draw,
    draw_c,
    skip_c,
    write_example,
)
from cpm_port.training.crand import RAND_MAX, CRand
from cpm_port.training.transform_param import TransformParameters
from tests.support import shared_dir

MAP_TOLERANCE = 1e-6
COORDINATE_TOLERANCE = 1e-6  # of hundreds of px: the records give nine digits
SHARED = shared_dir()
CASES = sorted(p.stem for p in (SHARED / "golden/caffe/transformer").glob("*.npz")) if SHARED else ["(none here)"]
P_VALUE = 1e-3  # seeds are fixed, so this is checked once and stays


def official(**fields: object) -> TransformParameters:
    """Return the parameters that the release trains with."""
    given = {"stride": 8, "target_dist": 1.171, "scale_prob": 1.0, "scale_min": 0.7, "scale_max": 1.3}
    return TransformParameters(**{**given, "max_rotate_degree": 40.0, "center_perterb_max": 0.0, **fields})


def annotation(seed: int, joints: int = 16) -> Annotation:
    points = np.ones((joints, 3))
    points[:, :2] = np.random.default_rng(seed).uniform(0, 1, (joints, 2)) * (60, 80)
    points[3, :2], points[5, 2] = (-1, -1), 0
    return Annotation(np.array([30.25, 41.5], np.float32), 0.5, points.astype(np.float32))


def record(seed: int = 0, *, others: int = 1, joints: int = 16) -> Record:
    planes = np.random.default_rng(seed).integers(0, 256, (3, 80, 60), dtype=np.uint8)
    people = [annotation(seed + k, joints) for k in range(others + 1)]
    return Record("r", "MPI", planes, (60, 80), people[0], tuple(people[1:]))


def test_all_nets_of_the_original_are_here(shared: Path) -> None:
    assert len(CASES) == 12


@pytest.mark.parametrize("case", CASES)
def test_examples_are_the_originals(shared: Path, case: str) -> None:
    folder = shared / "golden/caffe/transformer"
    facts = json.loads((folder / f"{case}.json").read_text())
    with np.load(folder / f"{case}.npz") as arrays:
        images, centers, maps = (arrays[name] for name in ("image_u8", "center_map", "label"))
    net = read_net(folder / f"{case}.prototxt", phase=facts["phase"])
    parameters = TransformParameters.from_message(net.layers[0].params.transform_param)
    store = LmdbRecords(folder / facts["lmdb"], parameters.np_in_lmdb)
    tables = (
        [np.loadtxt(folder / f"{case}.{kind}_2_10.txt") for kind in ("rotate", "flip")] if "rot30" in case else None
    )
    rand = CRand(facts["srand_seed"])
    data_shape, label_shape = blob_shapes(parameters)
    data, label = np.empty(data_shape, np.float32), np.empty(label_shape, np.float32)
    assert len(images) == len(facts["samples"])
    for index, sample in enumerate(facts["samples"]):
        found, what = store[index % len(store)], None
        if facts["phase"] == "TRAIN":
            draws = draw_c(parameters, rand)
            raw = [np.float32(number) / np.float32(RAND_MAX) for _, number in sample["draws"]]
            order = (draws.scale_dice, draws.scale_value, draws.rotate, draws.crop_x, draws.crop_y, draws.flip)
            assert [number for number in order if number is not None] == raw
            turn = index // len(store) % 2
            row = found.write_number
            table = None if tables is None else (float(tables[0][row, turn]), bool(tables[1][row, turn]))
            what = decide(draws, parameters, table)
        example = augment(found, parameters, what)
        write_example(example, parameters, data, label)
        final = sample["meta"]["final"]
        np.testing.assert_array_equal(example.planes, images[index])
        np.testing.assert_array_equal(data[:3], (images[index].astype(np.float32) - 128) / 256)
        np.testing.assert_allclose(data[3], centers[index], atol=MAP_TOLERANCE)
        np.testing.assert_allclose(label, maps[index], atol=MAP_TOLERANCE)
        np.testing.assert_allclose(example.objpos, final["objpos"], atol=COORDINATE_TOLERANCE)
        own = np.array(final["self"])[: parameters.num_parts]
        np.testing.assert_allclose(example.people[0], own, atol=COORDINATE_TOLERANCE)


def literally(found: Record, parameters: TransformParameters, what: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    """Resize, turn, crop and flip the whole image and one joint, step by step; return the crop and objpos."""
    scale = float(np.float32(parameters.target_dist) / np.float32(found.person.scale) * np.float32(what.multiplier))
    image = _resize_reference(found.planes, scale)
    height, width = image.shape[1:]
    angle = math.radians(what.degree)
    corners = np.array([[-width, -height], [width, -height], [-width, height], [width, height]]) / 2
    turned = corners @ np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = np.array([width / 2, height / 2])
    low, high = turned.min(axis=0) + half, turned.max(axis=0) + half
    box = np.ceil(high - 1e-5) - np.floor(low + 1e-5) + 1
    forward = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shift = box / 2 - forward @ (width / 2, height / 2)
    image = _warp_reference(image, np.column_stack([forward, shift]), (int(box[0]), int(box[1])))
    x, y = forward @ (found.person.objpos * scale) + shift
    crop_width, crop_height = parameters.crop_size
    middle = round(x + what.offset[0]), round(y + what.offset[1])
    crop = np.full((3, crop_height, crop_width), 128, np.uint8)
    for i in range(crop_height):
        for j in range(crop_width):
            row, column = middle[1] - crop_height // 2 + i, middle[0] - crop_width // 2 + j
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                crop[:, i, j] = image[:, row, column]
    at = np.array([x + crop_width // 2 - middle[0], y + crop_height // 2 - middle[1]])
    if what.flip:
        crop, at[0] = crop[:, :, ::-1], crop_width - 1 - at[0]
    return crop, at


@pytest.mark.parametrize(
    "what",
    [
        Augmentation(),
        Augmentation(1.2, 25.0, (3, -2), False),
        Augmentation(0.75, -38.5, (0, 0), True),
        Augmentation(1.05, 90.0, (-20, 30), True),
        Augmentation(0.9, 171.0, (400, 0), False),
    ],
)
def test_one_pass_over_the_crop_equals_step_after_step(what: Augmentation) -> None:
    parameters = official(crop_size_x=50, crop_size_y=64, target_dist=0.6)
    found = augment(record(1), parameters, what)
    crop, objpos = literally(record(1), parameters, what)
    np.testing.assert_array_equal(found.planes, crop)
    np.testing.assert_allclose(found.objpos, objpos, atol=1e-4)


def test_no_turn_still_moves_everything_by_half_a_pixel() -> None:
    parameters = official(crop_size_x=40, crop_size_y=40, target_dist=0.5)
    example = augment(record(), parameters, Augmentation())
    moved = record().person.objpos + np.float32(0.5)
    np.testing.assert_allclose(example.objpos - moved, np.array([20, 20]) - np.round(moved), atol=1e-6)


def test_the_code_of_a_joint_is_decided_on_the_original_image() -> None:
    joints = record().person.joints.copy()
    joints[:4, :2] = (-0.01, 5), (59.99, 5), (60, 5), (5, 80)
    joints[4] = 59, 79, 0
    joints[5] = 59, 79, 7
    person = replace(record().person, joints=joints)
    plain = official(num_parts=16, transform_body_joint=False, crop_size_x=60, crop_size_y=80)
    codes = augment(replace(record(), person=person), plain, None).people[0, :6, 2]
    assert codes.tolist() == [2, 1, 2, 2, 0, 1]


def test_fourteen_parts_come_out_in_the_order_of_the_belief_maps() -> None:
    example = augment(record(), official(crop_size_x=60, crop_size_y=80), None)
    stored = record().person.joints
    for part, name in enumerate(CPM14.parts):
        np.testing.assert_array_equal(example.people[0, part, :2], stored[MPII16.index(name), :2])


def test_of_twenty_eight_parts_the_last_are_middles_of_limbs() -> None:
    example = augment(record(), official(num_parts=28, crop_size_x=60, crop_size_y=80), None)
    stored = record().person.joints
    thigh = (stored[MPII16.index("right_hip")] + stored[MPII16.index("right_knee")]) / 2
    np.testing.assert_allclose(example.people[0, 23, :2], thigh[:2])
    assert example.people[0, 18, 2] in (0, 1, 2)


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, CPM14.mirrored()),
        ({"num_parts": 9, "np_in_lmdb": 9}, FLIC9.mirrored()),
        ({"num_parts": 9, "np_in_lmdb": 9, "transform_body_joint": False}, tuple(range(9))),
        ({"num_parts": 16, "transform_body_joint": False}, tuple(range(16))),
        ({"num_parts": 16, "transform_body_joint": True}, tuple(range(16))),
    ],
)
def test_a_flip_exchanges_sides_where_the_original_does(fields: dict[str, object], order: tuple[int, ...]) -> None:
    parameters = official(crop_size_x=64, crop_size_y=64, **fields)
    joints = parameters.np_in_lmdb
    plain = augment(record(joints=joints), parameters, Augmentation())
    flipped = augment(record(joints=joints), parameters, Augmentation(flip=True))
    np.testing.assert_array_equal(flipped.planes, plain.planes[:, :, ::-1])
    expected = plain.people[:, list(order)]
    np.testing.assert_allclose(flipped.people[:, :, 0], 63 - expected[:, :, 0], atol=1e-4)
    np.testing.assert_array_equal(flipped.people[:, :, 1:], expected[:, :, 1:])


def test_the_exchange_of_twenty_eight_parts_undoes_itself() -> None:
    order = official(num_parts=28).flip_order
    assert [order[order[part]] for part in range(28)] == list(range(28))
    assert sum(part != other for part, other in enumerate(order)) == 22


def test_a_perturbation_is_cut_towards_zero() -> None:
    parameters = official(center_perterb_max=10.0)
    draws = Draws(0.5, 0.5, 0.5, 0.5 - 0.0999, 0.5 + 0.0999, 0.9)
    assert decide(draws, parameters).offset == (-1, 1)


@pytest.mark.parametrize(("dice", "numbers"), [(0.25, 6), (0.75, 5)])
def test_one_number_fewer_is_drawn_where_the_scale_is_left_alone(dice: float, numbers: int) -> None:
    class Counting(CRand):
        drawn = 0

        def rand(self) -> int:
            self.drawn += 1
            return int(dice * 2**31)

    for aug_way, fewer in (("rand", 0), ("none", 2)):
        rand = Counting()
        draws = draw_c(official(scale_prob=0.5, aug_way=aug_way), rand)
        assert rand.drawn == numbers - fewer
        assert (draws.scale_value is None) == (dice > 0.5)
        assert (draws.rotate is None) == (aug_way != "rand")


def test_a_number_equal_to_the_probability_is_a_hit() -> None:
    class Zero(CRand):
        def rand(self) -> int:
            return 0

    draws = draw_c(official(scale_prob=0.0, flip_prob=0.0), Zero())
    assert draws.scale_value == 0
    assert decide(draws, official(flip_prob=0.0)).flip


def test_the_largest_number_becomes_one() -> None:
    class Largest(CRand):
        def rand(self) -> int:
            return RAND_MAX

    assert draw_c(official(), Largest()).crop_x == 1


@pytest.mark.parametrize("fields", [{}, {"scale_prob": 0.4}, {"scale_prob": 0.4, "aug_way": "table"}])
def test_skipping_draws_as_much_as_drawing(fields: dict[str, object]) -> None:
    parameters, drawn, skipped = official(**fields), CRand(5), CRand(5)
    for _ in range(100):
        draw_c(parameters, drawn)
    skip_c(parameters, skipped, 100)
    assert drawn.rand() == skipped.rand()


def test_our_draws_depend_on_seed_epoch_and_index_alone() -> None:
    parameters = official()
    keys = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 2**40, 2**40)]
    first = [draw(parameters, *key) for key in keys]
    assert first == [draw(parameters, *key) for key in keys[::-1]][::-1]
    assert len(set(first)) == len(keys)
    with pytest.raises(UsageError, match="seed -1"):
        draw(parameters, -1, 0, 0)


def test_our_draws_are_distributed_as_the_note_says() -> None:
    parameters = official(scale_prob=0.6, center_perterb_max=30.0, flip_prob=0.3)
    found = [decide(draw(parameters, 11, index // 500, index % 500), parameters) for index in range(4000)]
    scaled = np.array([a.multiplier for a in found if a.multiplier != 1])
    degrees = np.array([a.degree for a in found])
    offsets = np.array([a.offset for a in found])
    assert scipy.stats.binomtest(len(scaled), len(found), 0.6).pvalue > P_VALUE
    assert scipy.stats.kstest(scaled, scipy.stats.uniform(0.7, 0.6).cdf).pvalue > P_VALUE
    assert scipy.stats.kstest(degrees, scipy.stats.uniform(-40, 80).cdf).pvalue > P_VALUE
    for axis in range(2):  # truncation: twice as much at 0 as elsewhere
        counts = np.bincount(offsets[:, axis] + 29, minlength=59)
        expected = np.where(np.arange(59) == 29, 2, 1) / 60 * len(found)
        assert scipy.stats.chisquare(counts, expected).pvalue > P_VALUE
    assert scipy.stats.binomtest(sum(a.flip for a in found), len(found), 0.3).pvalue > P_VALUE
    columns = np.column_stack([degrees, offsets, [a.flip for a in found], [a.multiplier for a in found]])
    off_diagonal = np.corrcoef(columns.T)[~np.eye(5, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4 / math.sqrt(len(found))


def test_cs_draws_and_ours_have_the_same_distribution() -> None:
    parameters, rand = official(), CRand(1)
    ours = [decide(draw(parameters, 4, 0, index), parameters) for index in range(3000)]
    theirs = [decide(draw_c(parameters, rand), parameters) for _ in range(3000)]
    for field in ("multiplier", "degree"):
        pair = [[getattr(a, field) for a in group] for group in (ours, theirs)]
        assert scipy.stats.ks_2samp(*pair).pvalue > P_VALUE


@pytest.mark.parametrize("fields", [{"gray": 1}, {"do_clahe": True}, {"do_clahe": True, "gray": 1}])
def test_grey_and_clahe_change_the_image_and_nothing_else(fields: dict[str, object]) -> None:
    size = {"crop_size_x": 60, "crop_size_y": 80}
    plain, changed = augment(record(), official(**size), None), augment(record(), official(**size, **fields), None)
    np.testing.assert_array_equal(plain.people, changed.people)
    assert (plain.planes != changed.planes).mean() > 0.5
    if "gray" in fields:
        assert (changed.planes == changed.planes[:1]).all()


def test_in_the_test_phase_an_image_must_have_the_crops_size() -> None:
    with pytest.raises(DataError, match="60 x 80; in the TEST phase it must have the crop's size, 61 x 80"):
        augment(record(), official(crop_size_x=61, crop_size_y=80), None)


def test_what_the_original_would_crash_on_is_refused() -> None:
    for fields, message in (
        ({"put_gaussian": False}, "put_gaussian"),
        ({"stride": 0}, "stride 0"),
        ({"np_in_lmdb": 9}, "14 parts need 16"),
        ({"num_parts": 21}, "21 parts need 21"),
        ({"mirror": (0, 0)}, "permutation of 14"),
    ):
        with pytest.raises(LayerError, match=message):
            official(**fields)
    flat = replace(record(), person=replace(record().person, scale=0.0))
    with pytest.raises(DataError, match="r: scale 0"):
        augment(flat, official(), Augmentation())
    with pytest.raises(DataError, match="expected 1 to 32764 px"):
        augment(record(), official(target_dist=1e6), Augmentation())
    with pytest.raises(DataError, match="9 joints stored, expected at least 16"):
        augment(record(joints=9), official(), Augmentation())
    with pytest.raises(UsageError, match="from the tables"):
        decide(draw(official(aug_way="table"), 0, 0, 0), official(aug_way="table"))


def test_a_transform_of_the_upstream_dialect_is_not_the_layers() -> None:
    net = parse_net('layer { name: "d" type: "Data" top: "d" transform_param { mirror: true } }', dialect="bvlc")
    with pytest.raises(LayerError, match="not the CPM fork's"):
        TransformParameters.from_message(net.layers[0].params.transform_param)


def test_the_forks_defaults_are_read() -> None:
    net = parse_net(
        'layer { name: "d" type: "CPMData" top: "d" top: "l" cpmdata_param { source: "x" } }', dialect="cpm"
    )
    found = asdict(TransformParameters.from_message(net.layers[0].params.transform_param))
    expected = asdict(TransformParameters())
    assert found == {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in expected.items()}
