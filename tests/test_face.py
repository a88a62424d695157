"""Claim: `cpm_port` is the package's face: its public names, one way in for any picture, results in everybody's words.

Oracles: the command line's files; the pictures' own pixels; a net whose joints are known (tests/inference/nets.py).
"""

from __future__ import annotations

import doctest
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import cpm_port
from cpm_port.cli import main
from cpm_port.errors import DataError, MissingFileError, ShapeError, UsageError
from cpm_port.imaging.video import VideoWriter
from cpm_port.inference.face import Model
from cpm_port.inference.people import FoundPerson
from cpm_port.inference.sources import pictures
from tests.inference.nets import colour_net, colour_net_text

NAMES = {
    "CPM", "CaffeNet", "CpmPortError", "DrawnPeople", "Model", "PersonResult", "Result", "__version__", "evaluate",
    "load_model", "load_net", "predict",
}  # fmt: skip
"""The public names; a new one is added here, too."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    (folder / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "colours.caffemodel")
    return cpm_port.load_model(net=folder / "colours.prototxt", weights=folder / "colours.caffemodel")


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((160, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(((40, 60), (140, 50), (90, 120))):
        image[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    return image


def test_the_public_names_are_these() -> None:
    assert set(cpm_port.__all__) == NAMES
    assert set(dir(cpm_port)) >= NAMES - {"CPM", "CaffeNet"}


def test_the_packages_help_is_of_the_package_not_of_torch() -> None:
    page = pydoc.plain(pydoc.render_doc(cpm_port))
    assert "Names to begin with" in page
    assert len(page.splitlines()) < 1000
    assert "register_forward_hook" not in page


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, cpm_port; dir(cpm_port); assert not {'torch', 'cv2', 'numba', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_a_public_name_has_a_docstring_whose_example_runs(name: str) -> None:
    thing = getattr(cpm_port, name)
    examples = doctest.DocTestFinder(recurse=False).find(thing, name, module=False, globs={})
    assert sum(len(example.examples) for example in examples), f"{name}: no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in examples:
        runner.run(example)
    assert runner.failures == 0


def sizes(source: object, **options: bool) -> list[tuple[int, ...]]:
    return [picture.read().shape for picture in pictures(source, **options)]


def test_paths_folders_and_patterns_are_pictures(image: np.ndarray, tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "notes.txt").write_text("no image")
    names = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert [picture.name for picture in pictures(tmp_path)] == names
    assert [picture.name for picture in pictures(f"{tmp_path}/*.png")] == names
    assert [picture.name for picture in pictures([names[1], Path(names[0])])] == names[::-1]
    np.testing.assert_array_equal(next(pictures(names[0])).read(), image)


def test_what_a_folder_holds_besides_is_said(
    image: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "more").mkdir()
    assert [picture.path for picture in pictures(tmp_path)] == [tmp_path / "a.png"]
    assert caplog.messages == [
        f"{tmp_path / 'notes.txt'}: not taken, its suffix is no image's or video's",
        f"{tmp_path}: the folder in it is not entered: give {tmp_path}/*/ too",
    ]


def test_arrays_are_bgr_unless_they_are_said_to_be_rgb(image: np.ndarray) -> None:
    np.testing.assert_array_equal(next(pictures(image)).read(), image)
    np.testing.assert_array_equal(next(pictures(image, rgb=True)).read(), image[:, :, ::-1])
    np.testing.assert_array_equal(next(pictures(image[:, :, 0])).read(), image[:, :, :1].repeat(3, axis=2))
    np.testing.assert_array_equal(next(pictures(Image.fromarray(image[:, :, ::-1]))).read(), image)


def test_a_videos_frames_have_their_times(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    with VideoWriter(path, 10.0, (160, 200)) as video:
        for _ in range(3):
            video.write(image)
    shown = list(pictures([path, image]))
    assert [picture.name for picture in shown] == [*(f"{path}, frame {i}" for i in range(3)), "image 0"]
    assert [picture.time for picture in shown] == [pytest.approx(i / 10) for i in range(3)] + [None]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("https://example.org/a.jpg", UsageError, "fetches nothing by itself"),
        ("nothing-*.jpg", MissingFileError, "no file fits"),
        (np.zeros((4, 4, 4), np.uint8), ShapeError, r"expected \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), ShapeError, "uint8"),
        (b"bytes", UsageError, "bytes found"),
        (None, UsageError, "NoneType found"),
        (True, UsageError, "no picture"),
        (99, MissingFileError, "camera 99"),
    ],
)
def test_what_is_no_picture_is_refused(source: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        list(pictures(source))


def test_a_model_tells_what_it_is(model: Model) -> None:
    assert (model.name, model.box_size, model.scores) == ("colours.caffemodel", 64, ())
    assert model.parts == ("part_0", "part_1", "part_2")
    assert repr(model) == "<model colours.caffemodel: 3 parts, box 64 px, on cpu>"
    assert cpm_port.load_model().scores


def test_boxes_go_through_the_net_together_and_are_told_in_their_order(model: Model, image: np.ndarray) -> None:
    boxes = [(30.0, 20.0, 140.0, 120.0), (20.0, 40.0, 60.0, 60.0)]
    (result,) = model(image, boxes=boxes)
    assert [person.center for person in result] == [(100.0, 80.0), (50.0, 70.0)]
    (alone,) = model(image, boxes=boxes[1:])
    np.testing.assert_array_equal(result[1].joints, alone[0].joints)
    np.testing.assert_allclose(result[1].scores, alone[0].scores, atol=1e-6)


def test_a_finder_of_ones_own_is_asked_for_every_picture(model: Model, image: np.ndarray) -> None:
    class Finder:
        def find(self, picture: np.ndarray) -> list[FoundPerson]:
            return [FoundPerson((90.0, 80.0), 0.3, 0.9)] if picture.any() else []

    seen, empty = model([image, np.zeros_like(image)], people=Finder())
    assert (len(seen), len(empty)) == (1, 0)
    assert (seen[0].finder_score, seen[0].center) == (0.9, (90.0, 80.0))
    assert empty.to_dict()["people"] == []
    assert empty.to_coco() == []
    assert empty.to_openpose()["people"] == []
    np.testing.assert_array_equal(empty.draw().shape[2], 3)


def test_a_result_is_saved_as_the_command_writes_it(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    net = [f"--net={model.choice.net}", f"--weights={model.choice.weights}"]
    assert main(["predict", str(path), *net, "--out", str(tmp_path / "command")]) == 0
    (result,) = model(path)
    written = result.save(tmp_path / "face", maps=True)
    assert sorted(file.name for file in written) == ["a.json", "a_joints.png", "a_maps.png"]
    for file in written:
        assert file.read_bytes() == (tmp_path / "command" / file.name).read_bytes()
    assert repr(result) == f"<{path}, 200 x 160: 1 person>"


def test_maps_are_on_the_picture_and_peak_at_the_joints(model: Model, image: np.ndarray) -> None:
    (result,) = model(image)
    maps = result.maps()
    assert maps.shape == (160, 200, 4)
    for part, (x, y) in enumerate(result[0].joints.astype(int)):
        assert maps[y, x, part] == maps[..., part].max()
    with pytest.raises(UsageError, match="stage 3"):
        result.maps(3)


def test_a_broken_picture_is_an_error(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    cv2.imwrite(str(path), image)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"broken\.png"):
        model([image, path])
    stream = model.stream([image, path])
    assert len(next(stream)) == 1
    with pytest.raises(DataError, match=r"broken\.png"):
        next(stream)


def test_one_picture_is_one_picture(model: Model, image: np.ndarray) -> None:
    assert len(cpm_port.predict(image, model=model)) == 1
    with pytest.raises(UsageError, match="not one picture"):
        cpm_port.predict([image, image], model=model)
    with pytest.raises(UsageError, match="not both"):
        model(image, people="one", boxes=[(0, 0, 1, 1)])


def test_the_hub_finds_the_model() -> None:
    import torch

    found = torch.hub.load(str(Path(__file__).resolve().parents[1]), "cpm", source="local")
    assert found.name == "default"
    assert inspect.signature(found.stream).parameters["people"].default is None
