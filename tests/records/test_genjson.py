"""Claim: JSON files are written as the release's `genJSON.m` writes them.

Oracles: a published file of the release's (`shared`), which must come out as it went in; reading back; hand-worked
text.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_port.annotations.genjson import read_genjson
from cpm_port.annotations.samples import Person, Sample
from cpm_port.drawn.source import DrawnPeople
from cpm_port.errors import DataError
from cpm_port.parts import FLIC9, LSP14, MPII16, PartOrder
from cpm_port.records.genjson import format_genjson, write_genjson

COORDINATE_TOLERANCE = 5e-4  # three decimals are written


def person(parts: int, seed: int = 0) -> Person:
    joints = np.random.default_rng(seed).uniform(0, 300, (parts, 2))
    visible = np.arange(parts) % 3 != 0
    joints[1], visible[1] = np.nan, False
    return Person(joints, visible, (120.5, 80.25), 1.375)


def sample(others: int = 0, **fields: object) -> Sample:
    crowd = tuple(person(16, k + 1) for k in range(others))
    given = {"annolist_index": 7, "people_index": 2, "image_size": (640, 480)}
    return Sample("MPI", "a_2", Path("x/a.jpg"), "train", MPII16, "person", person(16), crowd, **{**given, **fields})


def test_a_published_file_comes_out_as_it_went_in(shared: Path) -> None:
    path = shared / "datasets/mpii_genjson_sample.json"
    assert json.loads("".join(format_genjson(read_genjson(path, "x"))))["root"] == json.loads(path.read_text())


@pytest.mark.parametrize("others", [0, 1, 3])
def test_what_is_written_is_read_back(tmp_path: Path, others: int) -> None:
    samples = [sample(others), replace(sample(others), split="validation", people_index=3, name="a_3")]
    write_genjson(tmp_path / "a.json", samples)
    for found, expected in zip(read_genjson(tmp_path / "a.json", "x"), samples, strict=True):
        for field in ("dataset", "name", "image", "split", "order", "image_size", "annolist_index", "people_index"):
            assert getattr(found, field) == getattr(expected, field), field
        for a, b in zip((found.person, *found.others), (expected.person, *expected.others), strict=True):
            np.testing.assert_allclose(a.joints, b.joints, atol=COORDINATE_TOLERANCE)
            np.testing.assert_array_equal(a.visible, b.visible)
            assert (a.center, a.scale) == (b.center, b.scale)


def test_lists_of_others_collapse_as_jsonlabs_do() -> None:
    shapes = []
    for others in (0, 1, 2):
        found = json.loads("".join(format_genjson([sample(others)])))["root"][0]
        shapes.append(tuple(np.shape(found[name]) for name in ("joint_others", "objpos_other", "scale_provided_other")))
        assert found["numOtherPeople"] == others
        if not others:
            assert found["joint_others"] == {"_ArrayType_": "double", "_ArraySize_": [0, 0], "_ArrayData_": None}
    assert shapes[1:] == [((16, 3), (2,), ()), ((2, 16, 3), (2, 2), (2,))]


def test_lsp_is_written_as_leeds_in_mpiis_order() -> None:
    lsp = replace(sample(), dataset="LSP", order=LSP14, person=person(14))
    found = json.loads("".join(format_genjson([lsp])))["root"][0]
    joints = np.array(found["joint_self"])
    assert (found["dataset"], joints.shape) == ("LEEDS", (16, 3))
    assert joints[6:8].tolist() == [[0, 0, 0], [0, 0, 0]]
    expected = person(14).joints[LSP14.index("neck")] + 1
    np.testing.assert_allclose(joints[MPII16.index("neck"), :2], expected, atol=COORDINATE_TOLERANCE)


def test_flics_nine_parts_stay() -> None:
    flic = replace(sample(), dataset="FLIC", order=FLIC9, person=person(9))
    assert np.shape(json.loads("".join(format_genjson([flic])))["root"][0]["joint_self"]) == (9, 3)


def test_parts_that_no_data_set_is_known_for_are_written_and_read_back(tmp_path: Path) -> None:
    limbs, pairs = (("palm", "left_thumb"),), (("left_thumb", "right_thumb"),)
    order = PartOrder("hands", ("palm", "left_thumb", "right_thumb"), limbs, pairs=pairs)
    own = replace(sample(), dataset="HANDS", order=order, person=person(3), image=Path('x/a "b" ä.jpg'))
    write_genjson(tmp_path / "a.json", [own, own])
    for found in read_genjson(tmp_path / "a.json", "x"):
        assert (found.dataset, found.image) == ("HANDS", own.image)
        assert (found.order.parts, found.order.limbs, found.order.pairs) == (order.parts, limbs, pairs)
        np.testing.assert_allclose(found.person.joints, own.person.joints, atol=COORDINATE_TOLERANCE)
    with pytest.raises(DataError, match="several part orders"):
        write_genjson(tmp_path / "b.json", [own, sample()])


def test_images_are_named_from_the_folder_of_images_wherever_they_lie(tmp_path: Path) -> None:
    for image, name in ((tmp_path / "own" / "x" / "a.jpg", "x/a.jpg"), (tmp_path / "b.jpg", "../b.jpg")):
        text = "".join(format_genjson([replace(sample(), image=image)], tmp_path / "own"))
        assert json.loads(text)["root"][0]["img_paths"] == name


def test_drawn_people_are_written_and_read_back(tmp_path: Path) -> None:
    drawn, _ = DrawnPeople(3, 64)[2]
    write_genjson(tmp_path / "a.json", [replace(drawn, image=Path("x/a.png"))])
    (found,) = read_genjson(tmp_path / "a.json", "x")
    assert (found.dataset, found.order) == ("DRAWN", MPII16)
    rows = [MPII16.index(part) for part in drawn.order.parts]
    np.testing.assert_allclose(found.person.joints[rows], drawn.person.joints, atol=COORDINATE_TOLERANCE)


def test_images_without_a_number_are_counted() -> None:
    paths = ["a.jpg", "b.jpg", "a.jpg"]
    samples = [replace(sample(annolist_index=None), image=Path(path)) for path in paths]
    found = json.loads("".join(format_genjson(samples)))["root"]
    assert [record["annolist_index"] for record in found] == [1, 2, 1]


def test_what_training_needs_and_is_missing_is_named(tmp_path: Path) -> None:
    for lacking, message in (
        (replace(sample(), image=None), "MPI a_2: expected an image's name and size"),
        (sample(image_size=None), "MPI a_2: expected an image's name and size"),
        (replace(sample(), person=replace(person(16), scale=None)), "MPI a_2: a person without a scale"),
        (replace(sample(), person=replace(person(16), center=None)), "MPI a_2: a person without a center"),
        (replace(sample(), person=replace(person(16), scale=float("inf"))), "inf cannot be written"),
    ):
        with pytest.raises(DataError, match=message):
            write_genjson(tmp_path / "a.json", [lacking])
    assert not list(tmp_path.iterdir())
