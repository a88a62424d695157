"""Claim: the same people are read the same from every annotation tool's file, and whoever is left out is named.

Oracle: the people that `labelled_files.py` writes as each tool does, by the tools' own descriptions of their formats.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cpm_port.annotations.imported import Imported, ImportedChoices, read_imported
from cpm_port.cli import main
from cpm_port.errors import CpmPortError, DataError, MissingFileError, UsageError
from cpm_port.training.sources import open_records
from tests.annotations import labelled_files
from tests.annotations.labelled_files import BOX, FILES, PARTS, PEOPLE, SIZE, coco, write, write_image

EXACT = 1e-9  # px; percent there and back


def imported(folder: Path, content: dict[str, Any], **choices: Any) -> Imported:
    """Read COCO's annotations, for cases of its own."""
    write_image(folder / "images")
    (folder / "labels.json").write_text(json.dumps(content))
    return read_imported("coco", folder / "labels.json", folder / "images", ImportedChoices(**choices))


@pytest.mark.parametrize("kind", FILES)
def test_every_tool_tells_the_same_people(tmp_path: Path, kind: str) -> None:
    found = read_imported(*write(tmp_path, kind))
    assert (found.order.parts, found.left_out, found.outside) == (PARTS, {}, 0)
    assert found.order.mirrored() == (0, 2, 1)
    assert [sample.name for sample in found.samples] == ["a_1", "a_2"]
    for sample, other, expected in zip(found.samples, found.samples[::-1], PEOPLE, strict=True):
        assert (sample.image, sample.image_size) == (tmp_path / "images" / "a.png", SIZE)
        for part, joint, seen in zip(PARTS, sample.person.joints, sample.person.visible, strict=True):
            x, y, is_seen = expected.get(part, (np.nan, np.nan, False))
            np.testing.assert_allclose(joint, (x, y), atol=EXACT)
            assert seen == is_seen
        assert sample.others[0] is other.person
    boxed, by_joints = (sample.person for sample in found.samples)
    np.testing.assert_allclose(boxed.center, ((BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2))
    np.testing.assert_allclose(boxed.scale, (BOX[3] - BOX[1]) / 200)
    np.testing.assert_allclose((*by_joints.center, by_joints.scale), (80, 40, 20 / 200))


@pytest.mark.parametrize("kind", ["coco", "cvat skeletons"])
def test_tools_that_draw_a_skeleton_give_it(tmp_path: Path, kind: str) -> None:
    assert read_imported(*write(tmp_path, kind)).order.limbs == (("nose", "left_ear"), ("nose", "right_ear"))


def test_parts_pairs_and_skeleton_can_be_said(tmp_path: Path) -> None:
    choices = {
        "parts": ["right_ear", "nose"],
        "flip_pairs": [("nose", "right_ear")],
        "skeleton": [("nose", "right_ear")],
    }
    order = imported(tmp_path, coco(), **choices).order
    assert (order.parts, order.mirrored(), order.limbs) == (("right_ear", "nose"), (1, 0), (("nose", "right_ear"),))


def changed(**changes: Any) -> dict[str, Any]:
    """Return COCO's annotations with other fields in the second person's."""
    content = coco()
    content["annotations"][1].update(changes)
    return content


def resized(width: int, height: int) -> dict[str, Any]:
    content = coco()
    content["images"].append({"id": 8, "file_name": "b.png", "width": width, "height": height})
    content["annotations"][1]["image_id"] = 8
    return content


@pytest.mark.parametrize(
    ("content", "reason", "neighbour"),
    [
        (changed(iscrowd=1), "a crowd", False),
        (changed(category_id=2), "of another category: unknown", False),
        (changed(keypoints=[0] * 9), "no part is labelled in the image", False),
        (changed(keypoints=[500, 20, 2] + [0] * 6), "no part is labelled in the image", False),
        (changed(keypoints=[50, 20, 2] + [0] * 6), "one part and no box: the size is not known", True),
        (resized(90, 120), "labelled on a picture of 90 x 120, this one is 120 x 90, turned by its EXIF", False),
        (resized(240, 180), "labelled on a picture of 240 x 180, this one is 120 x 90, so it was resized", False),
        (
            resized(120, 90) | {"images": [*coco()["images"], {"id": 8, "file_name": "c.png"}]},
            "no such image in ",
            False,
        ),
        (resized(120, 90) | {"images": [*coco()["images"], {"id": 8, "file_name": "x/a.png"}]}, "same file", False),
        (
            resized(120, 90) | {"images": [*coco()["images"], {"id": 8, "file_name": 600 * "c"}]},
            "no such image in ",
            False,
        ),
    ],
)
def test_whoever_is_left_out_is_named_with_the_reason(
    tmp_path: Path, content: dict[str, Any], reason: str, neighbour: bool
) -> None:
    write_image(tmp_path / "images", "b.png")
    found = imported(tmp_path, content)
    assert len(found.samples) == 1
    ((told, who),) = found.left_out.items()
    assert reason in told
    assert len(who) == 1
    assert "annotation 2" in who[0]
    assert len(found.samples[0].others) == neighbour
    assert any(line.startswith("left out, 1: ") and reason in line for line in found.report())


def test_joints_outside_the_image_count_as_not_labelled_and_are_counted(tmp_path: Path) -> None:
    keypoints = [119.4, 20, 2, 119.6, 20, 2, 30, -0.4, 2]
    found = imported(tmp_path, changed(keypoints=keypoints))
    assert found.samples[1].person.annotated.tolist() == [True, False, True]
    assert found.samples[1].person.joints[[0, 2]].tolist() == [[119, 20], [30, 0]]
    assert found.outside == 1
    assert any("1 joints lie outside" in line for line in found.report())


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("cvat", 'group_id="2"', 'group_id="1"'),
        ("labelme", '"group_id": 2', '"group_id": 1'),
        ("long table", "a.png,1", "a.png,0"),
        ("label studio", '"parentID": "box"', '"parentID": ""'),
    ],
)
def test_points_of_several_people_that_nothing_tells_apart_are_left_out(
    tmp_path: Path, kind: str, old: str, new: str
) -> None:
    tool, name, text = FILES[kind]
    mixed = text().replace(old, new).replace('"rectanglelabels", "id"', '"brush", "id"')
    assert mixed != text()
    write_image(tmp_path / "images")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(mixed)
    with pytest.raises(DataError, match=r"nobody is left to train on.*the same part twice"):
        read_imported(tool, tmp_path / name, tmp_path / "images")


def test_label_studios_points_belong_to_the_rectangle_they_lie_in(tmp_path: Path) -> None:
    text = FILES["label studio"][2]().replace('"parentID": "box"', '"parentID": ""')
    write_image(tmp_path / "images")
    (tmp_path / "labels.json").write_text(text)
    found = read_imported("labelstudio", tmp_path / "labels.json", tmp_path / "images")
    assert [int(sample.person.annotated.sum()) for sample in found.samples] == [2, 3]


def test_label_studios_json_min_tells_the_same_people(tmp_path: Path) -> None:
    tasks = labelled_files.label_studio()
    rows = []
    for task in tasks:
        row: dict[str, Any] = {**task["data"], "id": 1, "annotator": 1, "annotation_id": 5, "created_at": "2026-01-01"}
        for region in task["annotations"][0]["result"]:
            size = {name: region[name] for name in ("original_width", "original_height")}
            row.setdefault(region["type"], []).append({**region["value"], **size})
        rows.append(row)
    write_image(tmp_path / "images")
    for name, content in (("whole.json", tasks), ("min.json", rows)):
        (tmp_path / name).write_text(json.dumps(content).replace('"parentID": "box"', '"parentID": ""'))
    whole, least = (read_imported("labelstudio", tmp_path / f"{n}.json", tmp_path / "images") for n in ("whole", "min"))
    assert least.order == whole.order
    for one, other in zip(least.samples, whole.samples, strict=True):
        np.testing.assert_array_equal(one.person.joints, other.person.joints)
        assert (one.person.center, one.person.scale) == (other.person.center, other.person.scale)


def test_another_annotators_labels_are_left_out_and_cancelled_ones_passed_over(tmp_path: Path) -> None:
    tasks = labelled_files.label_studio()
    (first,) = tasks[0]["annotations"]
    tasks[0]["annotations"] = [{**first, "was_cancelled": True}, first, first]
    write_image(tmp_path / "images")
    (tmp_path / "labels.json").write_text(json.dumps(tasks))
    found = read_imported("labelstudio", tmp_path / "labels.json", tmp_path / "images")
    assert len(found.samples) == 2
    assert {reason: len(who) for reason, who in found.left_out.items()} == {
        "another annotator's labels of the same image": 2
    }
    assert all(len(sample.others) == 1 for sample in found.samples)


@pytest.mark.parametrize(
    "name",
    [
        "b.png",
        "C:\\joe\\set\\deep\\b.png",
        "/srv/joe/set/deep/b.png",
        "../set/deep/b.png",
        "https://a/deep/%62.png",
    ],
)
def test_an_image_is_found_under_the_end_of_the_name_that_another_machine_gave_it(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "images" / ("deep" if "deep" in name else "")
    write_image(inside, "b.png")
    content = resized(*SIZE)
    content["images"][1]["file_name"] = name
    assert imported(tmp_path, content).samples[1].image == inside / "b.png"


def test_cocos_ids_are_the_same_as_text_and_as_numbers(tmp_path: Path) -> None:
    content = changed(category_id="1", image_id="7")
    assert len(imported(tmp_path, content).samples) == 2


def test_a_folder_of_images_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    tool, labels, _ = write(tmp_path, "coco")
    with pytest.raises(MissingFileError, match="nowhere: no such folder of images"):
        read_imported(tool, labels, tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme", "label studio"])
def test_an_image_in_which_nobody_is_labelled_is_counted(tmp_path: Path, kind: str) -> None:
    tool, labels, images = write(tmp_path, kind)
    write_image(images, "b.png")
    if kind == "coco":
        labels.write_text(json.dumps(resized(*SIZE) | {"annotations": coco()["annotations"]}))
    elif kind == "cvat":
        labels.write_text(labels.read_text().replace("</annotations>", '<image name="b.png"/></annotations>'))
    elif kind == "labelme":
        (labels / "b.json").write_text('{"imagePath": "b.png", "shapes": []}')
    else:
        task = {"data": {"img": "b.png"}, "annotations": [{"result": []}]}
        labels.write_text(json.dumps([*labelled_files.label_studio(), task]))
    ((reason, who),) = read_imported(tool, labels, images).left_out.items()
    assert (reason, len(who), who[0].startswith("b.png")) == ("nobody is labelled in the image", 1, True)


def test_labelmes_files_are_read_from_folders_within_the_folder(tmp_path: Path) -> None:
    tool, labels, images = write(tmp_path, "labelme")
    write_image(images / "deep", "b.png")
    (labels / "deep").mkdir()
    (labels / "deep" / "b.json").write_text(json.dumps(labelled_files.labelme() | {"imagePath": "b.png"}))
    found = {sample.image for sample in read_imported(tool, labels, images).samples}
    assert found == {images / "a.png", images / "deep" / "b.png"}


def test_of_several_labels_with_skeletons_in_cvat_one_is_chosen(tmp_path: Path) -> None:
    tool, labels, images = write(tmp_path, "cvat skeletons")
    cow = '<skeleton label="cow"><points label="horn" points="1,2"/></skeleton></image>'
    labels.write_text(labels.read_text().replace("</image>", cow))
    with pytest.raises(UsageError, match="2 labels have skeletons: horse, cow; say which with --category"):
        read_imported(tool, labels, images)
    with pytest.raises(UsageError, match="no skeletons of 'pig'; there are horse, cow"):
        read_imported(tool, labels, images, ImportedChoices(category="pig"))
    found = read_imported(tool, labels, images, ImportedChoices(category="horse"))
    assert (found.order.parts, len(found.samples)) == (PARTS, 2)
    assert list(found.left_out) == ["of another category: cow"]


@pytest.mark.parametrize(
    ("separator", "comma"), [(";", "."), (";", ","), ("\t", "."), ("\t", ",")]
)  # as spreadsheets write tables in other countries
@pytest.mark.parametrize("kind", ["long table", "wide table"])
def test_a_table_may_have_other_separators_and_decimal_commas(
    tmp_path: Path, kind: str, separator: str, comma: str
) -> None:
    tool, labels, images = write(tmp_path, kind)
    expected = [sample.person.joints for sample in read_imported(tool, labels, images).samples]
    text = labels.read_text().replace(",", separator).replace(".0", f"{comma}0")
    labels.write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    for sample, joints in zip(read_imported(tool, labels, images).samples, expected, strict=True):
        np.testing.assert_array_equal(sample.person.joints, joints)


def test_cells_of_other_programs_mean_what_they_say(tmp_path: Path) -> None:
    write_image(tmp_path / "images")
    (tmp_path / "a.csv").write_text(
        "image,a_x,a_y,a_visible,b_x,b_y,b_visible,c_x,c_y\na.png,1,2,True,30,40,FALSE,NaN,nan\n"
    )
    (sample,) = read_imported("csv", tmp_path / "a.csv", tmp_path / "images").samples
    assert sample.person.visible.tolist() == [True, False, False]
    assert sample.person.annotated.tolist() == [True, True, False]


def test_label_studios_image_is_the_address_that_ends_as_one(tmp_path: Path) -> None:
    tool, labels, images = write(tmp_path, "label studio")
    write_image(images / "deep", "b.png")
    tasks = labelled_files.label_studio()
    tasks[0]["data"] = {"note": "seen at 9. June", "img": "/data/local-files/?d=sets%5Cdeep%5Cb.png"}
    labels.write_text(json.dumps(tasks))
    assert read_imported(tool, labels, images).samples[0].image == images / "deep" / "b.png"


def test_validation_takes_whole_images(tmp_path: Path) -> None:
    content = coco()
    for number in range(8, 14):
        write_image(tmp_path / "images", f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png"})
        content["annotations"] += [{**one, "image_id": number} for one in coco()["annotations"]]
    samples = imported(tmp_path, content, validate_every=3).samples
    held = {sample.image for sample in samples if sample.split == "validation"}
    assert len(held) == 2
    assert not held & {sample.image for sample in samples if sample.split == "train"}


def broken(**changes: Any) -> dict[str, Any]:
    return {**coco(), **changes}


@pytest.mark.parametrize(
    ("content", "choices", "error", "match"),
    [
        (broken(images=3), {}, DataError, "images: expected a list of objects"),
        (broken(categories=[{"id": 1, "name": "horse"}]), {}, DataError, "no category has a list of keypoints"),
        (changed(keypoints=[1, 2]), {}, DataError, "annotation 2: 2 numbers in keypoints, expected 3 for each of 3"),
        (changed(keypoints=[None] * 9), {}, DataError, "annotation 2: keypoints: None, expected a number"),
        (changed(image_id=9), {}, DataError, "annotation 2: image_id 9: no such image"),
        (
            broken(images=[*coco()["images"], {"id": "7", "file_name": "b.png"}]), {}, DataError,
            "a.png and b.png have the same id 7, expected one id per image",
        ),
        (
            broken(categories=[{**coco()["categories"][0], "skeleton": [[0, 1]]}]), {}, DataError,
            r"skeleton: \[0, 1\], expected two parts' numbers, from 1 to 3",
        ),
        (broken(annotations=[]), {}, DataError, "on, of 1 .1: nobody is labelled in the image .a.png, image 7"),
        (
            broken(images=[{"id": 7, "file_name": "c.png"}]),
            {},
            MissingFileError,
            "of 2 .2: no such image in .* .c.png",
        ),
        (
            broken(categories=[*coco()["categories"], {"id": 2, "name": "cow", "keypoints": ["nose"]}]), {}, UsageError,
            "2 categories have keypoints: horse, cow; say which with --category",
        ),
        (coco(), {"category": "cow"}, UsageError, "no category 'cow' with keypoints; there are horse"),
        (coco(), {"parts": ["tail"]}, UsageError, "no part tail; there are nose, left_ear, right_ear"),
        (
            broken(categories=[{**coco()["categories"][0], "keypoints": ["nose", "background", "ear"]}]), {}, DataError,
            "a part is called 'background', which is the map of no part; give it another name",
        ),
        (coco(), {"parts": ["nose", "nose"]}, UsageError, "the same part twice"),
        (coco(), {"flip_pairs": [("nose", "tail")]}, UsageError, "flip pairs: nose:tail, expected two of"),
        (coco(), {"skeleton": [("nose", "nose")]}, UsageError, "skeleton: nose:nose, expected two of"),
        (coco(), {"validate_every": 1}, UsageError, "expected 2 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(
    tmp_path: Path, content: dict[str, Any], choices: dict[str, Any], error: type[CpmPortError], match: str
) -> None:
    with pytest.raises(error, match=match):
        imported(tmp_path, content, **choices)


@pytest.mark.parametrize(
    ("tool", "name", "text", "match"),
    [
        ("cvat", "a.xml", "<annotations/>", "'annotations' with 'image' elements"),
        ("cvat", "a.xml", "", "not readable XML"),
        ("cvat", "a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "declares a document type"),
        ("cvat", "a.xml", "<a>" * 200 + "</a>" * 200, "too deep"),
        ("labelme", "a.json", '{"shapes": 3}', "labelme's object with 'shapes'"),
        ("labelme", "a.json", '{"shapes": [], "imagePath": "a.png"}', "no point is labelled in 1 files"),
        ("labelstudio", "a.json", '[{"kp": []}]', "list of tasks with 'annotations'"),
        ("csv", "a.csv", "a,b\n1,2\n", "its first line is 'a, b'; expected image, part, x, y, or image and NAME_x"),
        ("csv", "a.csv", "image,part,x,y\na.png,nose,1,z\n", "line 2: x, y: 'z', expected a number"),
        ("csv", "a.csv", "image,part,x,y\n\na.png,nose,1,z\n", "line 3: x, y: 'z', expected a number"),
        ("csv", "a.csv", "image,part,x,y\na.png,nose,10,5,20,5\n", "line 2: 6 cells, expected 4 .*a decimal comma"),
        ("csv", "a.csv", "image,a_x,a_y,a_x\n", "its first line has a_x twice"),
        ("csv", "a.csv", "image,a_x,a_y,b_x,b_Y\n", "its first line has b_x without b_y"),
        ("csv", "a.csv", "image,part,x,y\na.png,nose,0.5,1\na.png,ear,0.25,0\n", "every coordinate is between 0 and 1"),
        ("cvat", "a.xml", '<annotations><image name="a"><box/></image></annotations>', "no points .*there are box"),
        (
            "labelstudio",
            "a.json",
            '[{"data": {"i": "a.png"}, "annotations": [{"result": [{"type": "keypoint"}, {"type": "labels"}]}]}]',
            "no regions of type keypointlabels; there are keypoint, labels",
        ),
        (
            "labelstudio",
            "a.json",
            '[{"data": {"i": "x"}, "annotations": []}]',
            "{'i': 'x'}, expected the address of an",
        ),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, tool: str, name: str, text: str, match: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=match):
        read_imported(tool, tmp_path / name, tmp_path)


@pytest.mark.parametrize("kind", FILES)
def test_the_command_writes_what_training_reads(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    tool, labels, images = write(tmp_path, kind)
    out, picture = tmp_path / "own" / "train.json", tmp_path / "look.png"
    out.parent.mkdir()
    words = ["--from", tool, str(labels), "--images", str(images), "--pictures", str(picture)]
    assert main(["records", "json", str(out), *words, "--flip-pairs", "left_ear:right_ear"]) == 0
    said = capsys.readouterr().out
    assert "2 people in 1 images, 0 of them for validation" in said
    assert "a flip exchanges: left_ear - right_ear" in said
    assert cv2.imread(str(picture)).std() > 0
    store = open_records(out)
    assert store.order.parts == PARTS
    assert store.order.pairs == (("left_ear", "right_ear"),)
    np.testing.assert_allclose(store[0].person.joints[0], (30, 20, 1), atol=1e-3)
    assert store[0].planes.shape == (3, SIZE[1], SIZE[0])


@pytest.mark.parametrize("words", [[], ["--set", "lsp"], ["--set", "lsp", "--labels", "a", "--from", "coco", "b"]])
def test_the_command_wants_a_tools_file_or_a_data_set(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["records", "json", str(tmp_path / "a.json"), "--images", str(tmp_path), *words]) == 2
    assert "expected --from TOOL FILE, or --set NAME with --labels FILE" in capsys.readouterr().err
