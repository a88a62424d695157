"""Claim: from Python the same way is gone as by `cpm-port predict`, file by file, and errors are the files' own.

Oracles: the command line's files; a net whose joints are known (tests/inference/nets.py).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.inference.looking import Wanted
from cpm_port.inference.model import ReadyNet, ready_net
from cpm_port.inference.run import predict_files, predict_paths
from cpm_port.inference.targets import list_files, name_results
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.predictions.image_results import ImageResult
from cpm_port.predictions.results import read_result
from cpm_port.zoo import resolve
from tests.inference.nets import colour_net, colour_net_text


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "colours.caffemodel")
    return folder / "colours.prototxt", folder / "colours.caffemodel"


@pytest.fixture(scope="module")
def model(files: tuple[Path, Path]) -> ReadyNet:
    return ready_net(resolve(None, *files))


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Return two images' paths, with those of an absent and a broken one between them."""
    paths = [tmp_path / f"{name}.png" for name in ("a", "absent", "broken", "z")]
    image = np.zeros((160, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(((40, 60), (140, 50), (90, 120))):
        image[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    cv2.imwrite(str(paths[0]), image)
    paths[2].write_bytes(paths[0].read_bytes()[:300])
    cv2.imwrite(str(paths[3]), image[:, ::-1])
    return paths


def test_python_writes_the_files_that_the_command_line_writes(
    files: tuple[Path, Path], model: ReadyNet, images: list[Path], tmp_path: Path
) -> None:
    options = ["--net", str(files[0]), "--weights", str(files[1]), "--box", "30", "20", "140", "120"]
    good = [images[0], images[3]]
    assert main(["predict", *map(str, good), *options, "--out", str(tmp_path / "command")]) == 0
    where = Whereabouts(box=(30.0, 20.0, 140.0, 120.0))
    done = predict_paths(good, tmp_path / "python", Wanted(where), choice=resolve(None, *files))
    assert (done.files, done.failed) == (2, 0)
    written = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert len(written) == 6
    for name in written:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    found = read_result(tmp_path / "python" / "a.json")
    assert isinstance(found, ImageResult)
    assert [joint.name for joint in found.joints] == ["part_0", "part_1", "part_2"]
    assert found.model == model.record


def test_a_bad_file_is_done_with_its_error_and_the_others_go_on(
    model: ReadyNet, images: list[Path], tmp_path: Path
) -> None:
    done = list(predict_files(name_results(images, tmp_path / "out"), model))
    assert [one.target.path for one in done] == images
    assert [type(one.error) for one in done] == [type(None), MissingFileError, DataError, type(None)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == ["a.json", "z.json"]


def test_what_a_folder_holds_besides_is_named(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "more").mkdir()
    besides = [tmp_path / "more", tmp_path / "notes.txt"]
    assert list_files([tmp_path]) == ([images[0], images[2], images[3]], besides)


def test_a_place_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="belong together"):
        Whereabouts(center_xy=(1.0, 2.0))
    with pytest.raises(UsageError, match="not both"):
        Whereabouts(center_xy=(1.0, 2.0), base_scale=1.0, box=(0.0, 0.0, 1.0, 1.0))
