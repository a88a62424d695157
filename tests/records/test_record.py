"""Claim: samples become the records that the release would have written; sources are opened by one line of text.

Oracles: hand-worked samples; a record that went through an LMDB; sets written to disk here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.annotations.samples import Person, Sample
from cpm_port.drawn.source import DrawnPeople, DrawnRecords
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.parts import CPM14, FLIC9, LSP14, MPII16, PartOrder
from cpm_port.records.genjson import write_genjson
from cpm_port.records.lmdb import LmdbRecords, decode_datum, encode_datum, write_lmdb
from cpm_port.records.record import JoinedRecords, SampleRecords, record_of
from cpm_port.training.sources import open_records


def person(order: PartOrder, *, center: tuple[float, float] | None = (30.0, 20.5)) -> Person:
    joints = np.arange(2.0 * len(order)).reshape(-1, 2) + 0.125
    visible = np.ones(len(order), bool)
    joints[1], visible[1], visible[2] = np.nan, False, False
    return Person(joints, visible, center, 0.7)


def sample(order: PartOrder = LSP14, dataset: str = "LSP", *, others: int = 0) -> Sample:
    own = person(order)
    crowd = (replace(own, center=None, scale=None),) * others
    return Sample(dataset, "im0001", None, "train", order, "person", own, crowd)


IMAGE = np.arange(40 * 70 * 3, dtype=np.uint8).reshape(40, 70, 3)


def test_lsps_parts_move_into_mpiis_order_and_the_rest_is_absent() -> None:
    found = record_of(sample(), IMAGE)
    joints = found.person.joints
    assert (found.dataset, joints.shape) == ("LEEDS", (16, 3))
    assert joints[MPII16.index("right_ankle")].tolist() == [0.125, 1.125, 1]
    assert joints[MPII16.index(LSP14.parts[1])].tolist() == [-1, -1, 0]
    assert joints[MPII16.index(LSP14.parts[2]), 2] == 0
    for part in ("pelvis", "thorax"):
        assert joints[MPII16.index(part)].tolist() == [-1, -1, 0]
    np.testing.assert_array_equal(found.planes, IMAGE.transpose(2, 0, 1))
    assert found.image_size == (70, 40)


@pytest.mark.parametrize("order", [MPII16, FLIC9])
def test_other_orders_stay(order: PartOrder) -> None:
    found = record_of(sample(order, "MPI"), IMAGE)
    assert len(found.person.joints) == len(order)
    np.testing.assert_array_equal(found.person.joints[5, :2], np.float32(person(order).joints[5]))


@pytest.mark.parametrize("others", [0, 2])
def test_a_record_is_the_same_with_and_without_a_database_between(others: int) -> None:
    found = record_of(sample(others=others), IMAGE)
    again = decode_datum(encode_datum(found))
    for a, b in zip((found.person, *found.others), (again.person, *again.others), strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
        np.testing.assert_array_equal(a.objpos, b.objpos)


def test_a_person_without_center_or_scale_cannot_be_trained_on() -> None:
    lacking = replace(sample(), person=person(LSP14, center=None))
    with pytest.raises(DataError, match="LSP im0001: the person has no center or scale"):
        record_of(lacking, IMAGE)
    with pytest.raises(DataError, match="1 samples have no center or scale, the first 'im0001'"):
        SampleRecords([sample(), lacking], lambda path: IMAGE)
    flat = replace(sample(), person=replace(person(LSP14), scale=0.0))
    with pytest.raises(DataError, match="1 samples have no positive scale, the first 'im0001'"):
        SampleRecords([sample(), flat], lambda path: IMAGE)


def test_a_list_of_samples_is_of_one_order() -> None:
    with pytest.raises(DataError, match="several part orders: flic9, lsp14"):
        SampleRecords([sample(), sample(FLIC9, "FLIC")], lambda path: IMAGE)
    with pytest.raises(DataError, match="no sample"):
        SampleRecords([], lambda path: IMAGE)


def test_records_of_samples_know_their_order(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    store = SampleRecords([replace(sample(CPM14), image=tmp_path / "a.png")] * 3, lambda path: cv2.imread(str(path)))
    assert (store.order, len(store)) == (MPII16, 3)
    assert (store[2].write_number, store[2].total_write_number) == (2, 3)
    np.testing.assert_array_equal(store[1].planes, IMAGE.transpose(2, 0, 1))


def test_drawn_people_are_a_source() -> None:
    store = open_records("drawn:count=5,size=64,seed=9,difficulty=10")
    assert isinstance(store, DrawnRecords)
    np.testing.assert_array_equal(store[3].planes, DrawnRecords(5, 64, 9, 10)[3].planes)
    assert len(open_records("drawn:")) == DrawnPeople().count


@pytest.mark.parametrize("text", ["drawn:people=3", "drawn:count", "drawn:count=-3", "drawn:size=64;seed=2"])
def test_a_drawn_source_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="count=N, size=N, seed=N, difficulty=N"):
        open_records(text)


@pytest.mark.parametrize("folder", ["", "images"])
def test_a_json_file_is_a_source_with_its_images_beside_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / folder / "a.png"), IMAGE)
    kept = replace(sample(), image=Path("elsewhere/a.png"), image_size=(70, 40))
    write_genjson(tmp_path / "train.json", [kept, replace(kept, split="validation"), kept])
    store = open_records(tmp_path / "train.json")
    assert len(store) == 2
    np.testing.assert_array_equal(store[0].planes, IMAGE.transpose(2, 0, 1))
    np.testing.assert_allclose(store[1].person.joints, record_of(sample(), IMAGE).person.joints, atol=5e-4)


@pytest.mark.parametrize("folder", ["", "images"])
def test_a_json_files_image_names_keep_their_folder(tmp_path: Path, folder: str) -> None:
    people = [replace(sample(), image=tmp_path / f"{part}/a.png", image_size=(70, 40)) for part in ("train", "other")]
    write_genjson(tmp_path / "train.json", people, tmp_path)
    for part, brightness in (("train", 0), ("other", 9)):
        (tmp_path / folder / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / part / "a.png"), IMAGE + np.uint8(brightness))
    store = open_records(tmp_path / "train.json")
    assert [store[i].name for i in range(2)] == ["LEEDS train/a_1", "LEEDS other/a_1"]
    np.testing.assert_array_equal(store[1].planes, (IMAGE + np.uint8(9)).transpose(2, 0, 1))
    (tmp_path / folder / "other/a.png").unlink()
    with pytest.raises(MissingFileError, match=r"1 of 2 images are not there; the first: .*other/a\.png"):
        open_records(tmp_path / "train.json")


def test_a_json_file_of_validation_people_trains_nobody(tmp_path: Path) -> None:
    kept = replace(sample(), image=Path("a.png"), image_size=(70, 40), split="validation")
    write_genjson(tmp_path / "val.json", [kept])
    with pytest.raises(DataError, match="every record is marked as validation"):
        open_records(tmp_path / "val.json")


def test_a_json_files_validation_people_are_held_out(tmp_path: Path) -> None:
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), IMAGE)
    people = [replace(sample(), image=Path(f"{name}.png"), image_size=(70, 40)) for name in "abc"]
    write_genjson(tmp_path / "some.json", [people[0], replace(people[1], split="validation"), people[2]])
    write_genjson(tmp_path / "none.json", people[:2])
    assert len(open_records(tmp_path / "some.json")) == 2
    held_out = open_records(tmp_path / "some.json", held_out=True)
    assert [held_out[i].name for i in range(len(held_out))] == ["LEEDS b_1"]
    assert len(open_records(tmp_path / "none.json", held_out=True)) == 2


def test_images_that_are_not_there_are_missed_before_training(tmp_path: Path) -> None:
    people = [replace(sample(), image=Path(f"{name}.png"), image_size=(70, 40)) for name in "abc"]
    write_genjson(tmp_path / "train.json", people)
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    with pytest.raises(MissingFileError, match=r"2 of 3 images are not there; the first: .*b\.png"):
        open_records(tmp_path / "train.json")


def test_several_sources_know_an_order_if_all_know_the_same() -> None:
    drawn = DrawnRecords(2, 64)
    assert JoinedRecords([drawn, drawn]).order == drawn.order == MPII16
    assert JoinedRecords([drawn, [drawn[0]]]).order is None


def test_a_database_is_a_source_and_nothing_is_none(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [replace(DrawnRecords(1, 64)[0])])
    assert isinstance(open_records(tmp_path / "db"), LmdbRecords)
    with pytest.raises(MissingFileError, match="no training records there"):
        open_records(tmp_path / "absent")


def test_a_record_of_an_image_of_another_size_is_refused() -> None:
    """Its labels would lie off their targets: a resized original, an EXIF orientation."""
    assert record_of(replace(sample(), image_size=(70, 40)), IMAGE).image_size == (70, 40)
    with pytest.raises(DataError, match=r"LSP im0001: .* is 70 x 40, annotated as 40 x 70"):
        record_of(replace(sample(), image_size=(40, 70)), IMAGE)
