"""Claim: ImageData, WindowData and MemoryData give what Caffe's do. Oracles: hand-worked files, literal loops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.caffe import parse_net, write_mean
from cpm_port.errors import DataError, LayerError, MissingFileError, UsageError
from cpm_port.training.batches import DataSource, open_data_layers

SIZES = ((6, 7), (9, 5), (8, 8))


def opened(text: str, *, phase: str = "TEST", **given: object) -> DataSource:
    return open_data_layers(parse_net(text, phase=phase), phase=phase, **given)  # type: ignore[arg-type]


@pytest.fixture
def images(tmp_path: Path) -> list[np.ndarray]:
    """Three pictures of different sizes in `pictures/`, and the list of them."""
    (tmp_path / "pictures").mkdir()
    drawn = []
    for number, (height, width) in enumerate(SIZES):
        image = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for name in (f"a picture {number}.png", f"{number}.png"):
            cv2.imwrite(str(tmp_path / "pictures" / name), image)
        drawn.append(image)
    lines = [f"a picture {number}.png {10 * number}" for number in range(3)]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n\n")
    return drawn


def image_layer(folder: Path, fields: str = "", transform: str = "", batch: int = 2) -> str:
    return f"""layer {{ name: "in" type: "ImageData" top: "data" top: "label" transform_param {{ {transform} }}
        image_data_param {{ source: "{folder / "list.txt"}" root_folder: "{folder / "pictures"}/" batch_size: {batch}
          {fields} }} }}"""


def test_images_come_in_the_lists_order_resized_and_begin_again(images: list[np.ndarray], tmp_path: Path) -> None:
    with opened(image_layer(tmp_path, "new_height: 4 new_width: 6")) as source:
        assert source.shapes == {"data": (2, 3, 4, 6), "label": (2,)}
        first, second = source.next_batch(), source.next_batch()
        assert source.describe_last() == ["a picture 2.png", "a picture 0.png"]
    expected = [cv2.resize(image, (6, 4), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1) for image in images]
    np.testing.assert_array_equal(first["data"], np.stack(expected[:2]))
    np.testing.assert_array_equal(second["data"], np.stack([expected[2], expected[0]]))
    assert (first["label"].tolist(), second["label"].tolist()) == ([0, 10], [20, 0])


def test_images_are_cropped_less_the_mean_and_scaled(images: list[np.ndarray], tmp_path: Path) -> None:
    transform = "crop_size: 4 mean_value: 1 mean_value: 2 mean_value: 3 scale: 0.5"
    with opened(image_layer(tmp_path, transform=transform, batch=3)) as source:
        found = source.next_batch()["data"]
    for image, crop in zip(images, found, strict=True):
        top, left = (image.shape[0] - 4) // 2, (image.shape[1] - 4) // 2
        part = (image[top : top + 4, left : left + 4].astype(np.float32) - [1, 2, 3]) * 0.5
        np.testing.assert_array_equal(crop, part.transpose(2, 0, 1).astype(np.float32))


def test_grey_images_have_one_channel(images: list[np.ndarray], tmp_path: Path) -> None:
    with opened(image_layer(tmp_path, "is_color: false", batch=1)) as source:
        found = source.next_batch()["data"]
    path = str(tmp_path / "pictures" / "a picture 0.png")
    np.testing.assert_array_equal(found[0, 0], cv2.imread(path, cv2.IMREAD_GRAYSCALE))
    assert found.shape == (1, 1, 6, 7)


def test_shuffled_images_come_once_an_epoch_in_a_new_order(images: list[np.ndarray], tmp_path: Path) -> None:
    with opened(image_layer(tmp_path, "new_height: 2 new_width: 2 shuffle: true", batch=3), phase="TRAIN") as source:
        epochs = [tuple(source.next_batch()["label"].tolist()) for _ in range(8)]
    assert all(sorted(epoch) == [0, 10, 20] for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_skip_is_drawn_below_rand_skip(images: list[np.ndarray], tmp_path: Path) -> None:
    firsts = set()
    for seed in range(12):
        with opened(image_layer(tmp_path, "new_height: 2 new_width: 2 rand_skip: 2", batch=1), seed=seed) as source:
            firsts.add(float(source.next_batch()["label"][0]))
    assert firsts == {0.0, 10.0}


def test_a_batch_has_the_size_of_its_first_image(images: list[np.ndarray], tmp_path: Path) -> None:
    """As in Caffe, which reshapes the blob: batches of one may differ, from one thread or several."""
    transform = "mean_value: 7 scale: 0.5"
    text = image_layer(tmp_path, transform=transform, batch=1)
    with opened(text) as source, opened(text, num_workers=2) as threaded:
        for number in range(5):
            expected = (images[number % 3].astype(np.float32) - 7) * 0.5
            for batch in (source.next_batch(), threaded.next_batch()):
                np.testing.assert_array_equal(batch["data"][0], expected.transpose(2, 0, 1))
        source.skip(1)
        assert source.next_batch()["data"].shape[2:] == SIZES[0]


def test_image_data_that_cannot_be_read_is_named(images: list[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="expected both new_height and new_width"):
        opened(image_layer(tmp_path, "new_height: 2"))
    with opened(image_layer(tmp_path)) as source, pytest.raises(DataError, match=r"a picture 1.png: image \(3, 9, 5\)"):
        source.next_batch()
    (tmp_path / "list.txt").write_text("absent.png 1\n")
    with pytest.raises(MissingFileError, match=r"absent\.png"):
        opened(image_layer(tmp_path))
    (tmp_path / "list.txt").write_text("a picture 0.png one\n")
    with pytest.raises(DataError, match=r"list.txt:1: 'a picture 0.png one'; expected a path and a whole number"):
        opened(image_layer(tmp_path))
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no images"):
        opened(image_layer(tmp_path))


WINDOWS = """# 0
0.png
3
6
7
2
3 0.9 1 0 4 3
0 0.1 0 1 6 5
# 1
2.png
3
8
8
1
5 0.4 2 2 5 6
"""


def window_layer(folder: Path, fields: str = "", transform: str = "crop_size: 6", batch: int = 4) -> str:
    return f"""layer {{ name: "in" type: "WindowData" top: "data" top: "label" transform_param {{ {transform} }}
        window_data_param {{ source: "{folder / "windows.txt"}" root_folder: "{folder / "pictures"}/"
          batch_size: {batch} bg_threshold: 0.3 {fields} }} }}"""


def test_windows_are_warped_background_first(images: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_text(WINDOWS)
    with opened(window_layer(tmp_path, "fg_fraction: 0.25", "crop_size: 6 mean_value: 7 scale: 9")) as source:
        batch = source.next_batch()
    assert batch["label"].tolist() == [0, 0, 0, 3]
    background = cv2.resize(images[0][1:6, 0:7], (6, 6), interpolation=cv2.INTER_LINEAR).astype(np.float32) - 7
    objects = cv2.resize(images[0][0:4, 1:5], (6, 6), interpolation=cv2.INTER_LINEAR).astype(np.float32) - 7
    expected = np.stack([background] * 3 + [objects]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(batch["data"], expected)


def half_up(value: float) -> int:
    return int(np.sign(value) * np.floor(abs(value) + 0.5))


def window_by_loops(
    image: np.ndarray, corners: tuple[int, int, int, int], size: int, pad: int, square: bool, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the original's steps one by one; return the window as it is and mirrored."""
    found = []
    for mirrored in (False, True):
        x1, y1, x2, y2 = corners
        scale = size / (size - 2 * pad)
        half_h, half_w = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
        cx, cy = x1 + half_w, y1 + half_h
        if square:
            half_h = half_w = max(half_h, half_w)
        x1, x2 = half_up(cx - half_w * scale), half_up(cx + half_w * scale)
        y1, y2 = half_up(cy - half_h * scale), half_up(cy + half_h * scale)
        wide, high = x2 - x1 + 1, y2 - y1 + 1
        left, top = max(0, -x1), max(0, -y1)
        right, bottom = max(0, x2 - image.shape[1] + 1), max(0, y2 - image.shape[0] + 1)
        x1, y1, x2, y2 = x1 + left, y1 + top, x2 - right, y2 - bottom
        width, height = half_up((x2 - x1 + 1) * size / wide), half_up((y2 - y1 + 1) * size / high)
        across = half_up((right if mirrored else left) * size / wide)
        down = half_up(top * size / high)
        width, height = min(width, size - across), min(height, size - down)
        part = cv2.resize(image[y1 : y2 + 1, x1 : x2 + 1], (width, height), interpolation=cv2.INTER_LINEAR)
        part = part[:, ::-1] if mirrored else part
        out = np.zeros((3, size, size), np.float32)
        off = (mean.shape[2] - size) // 2
        for c in range(3):
            for i in range(height):
                for j in range(width):
                    own = mean[c, i + off + down, j + off + across]
                    out[c, i + down, j + across] = np.float32(part[i, j, c]) - own
        found.append(out)
    return found[0], found[1]


@pytest.mark.parametrize(("pad", "square"), [(1, False), (0, True), (2, True)])
def test_windows_bring_their_surroundings(pad: int, square: bool, images: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_text(WINDOWS)
    mean = np.random.default_rng(8).uniform(0, 200, (3, 8, 8)).astype(np.float32)
    write_mean(tmp_path / "mean.binaryproto", mean)
    fields = f'context_pad: {pad} crop_mode: "{"square" if square else "warp"}" fg_fraction: 0.5'
    transform = f'crop_size: 6 mirror: true mean_file: "{tmp_path / "mean.binaryproto"}"'
    seen = set()
    with opened(window_layer(tmp_path, fields, transform, batch=16)) as source:
        batch = source.next_batch()
    for row, corners in enumerate([(0, 1, 6, 5)] * 8 + [(1, 0, 4, 3)] * 8):
        both = window_by_loops(images[0], corners, 6, pad, square, mean)
        matching = [mirrored for mirrored, array in enumerate(both) if np.array_equal(array, batch["data"][row])]
        assert matching, row
        seen.update(matching)
    assert seen == {0, 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n", "found '0', expected '#'"),
        (WINDOWS[:-8], "it ends too early"),
        (WINDOWS.replace("3 0.9", "0 0.9"), "foreground window of class 0"),
        (WINDOWS.replace("0 0.1", "0 0.4"), "1 windows of objects and 0 of background"),
    ],
)
def test_a_file_that_holds_no_windows_is_refused(
    text: str, message: str, images: list[np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "windows.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        opened(window_layer(tmp_path))


MEMORY = """layer { name: "in" type: "MemoryData" top: "data" top: "label"
    memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 } }"""


def test_memory_is_given_row_by_row_and_begins_again() -> None:
    data = np.random.default_rng(1).standard_normal((4, 3, 4, 5)).astype(np.float32)
    with opened(MEMORY, memory={"in": (data, np.arange(4))}) as source:
        batches = [source.next_batch() for _ in range(3)]
    for batch, rows in zip(batches, ([0, 1], [2, 3], [0, 1]), strict=True):
        np.testing.assert_array_equal(batch["data"], data[rows])
        assert batch["label"].tolist() == rows


def test_memory_must_fit_its_layer() -> None:
    with pytest.raises(DataError, match=r"expected \(rows, 3, 4, 5\) and \(rows,\), in whole batches of 2"):
        opened(MEMORY, memory={"in": (np.zeros((3, 3, 4, 5)), np.zeros(3))})
    with pytest.raises(UsageError, match=r"arrays for layers \[\]; expected for the MemoryData layers, \['in'\]"):
        opened(MEMORY)


@pytest.mark.parametrize("kind", ["image", "window", "memory"])
def test_processes_share_a_batch(kind: str, images: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_text(WINDOWS)
    memory = {"in": (np.random.default_rng(2).standard_normal((4, 3, 4, 5)), np.arange(4))} if kind == "memory" else {}
    text = {
        "image": image_layer(tmp_path, "shuffle: true", "crop_size: 3 mirror: true"),
        "window": window_layer(tmp_path, "context_pad: 1", "crop_size: 6 mirror: true"),
        "memory": MEMORY,
    }[kind]
    batches = []
    for shard in ((0, 1), (0, 2), (1, 2)):
        with opened(text, phase="TRAIN", shard=shard, memory=memory) as source:
            source.skip(1)
            batches.append(source.next_batch())
    whole, *parts = batches
    for top, blob in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[top] for part in parts]), blob)
