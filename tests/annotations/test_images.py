"""Images are checked before a run. Oracle: files that the tests write, leave out or break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from cpm_port.annotations.images import check_images
from cpm_port.annotations.lsp import read_lsp
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import LSP14


def _samples(folder: Path) -> list[Sample]:
    person = Person(np.zeros((14, 2)), np.ones(14, dtype=bool))
    made = []
    for i in range(3):
        path = folder / f"im{i}.png"
        Image.new("RGB", (30, 20)).save(path)
        made.append(Sample("LSP", f"im{i}", path, "test", LSP14, "person", person, image_size=(30, 20)))
    return made


def test_images_that_are_there_pass(tmp_path: Path) -> None:
    check_images(_samples(tmp_path), decode=True)


def test_missing_ones_are_counted_and_their_source_named(tmp_path: Path) -> None:
    samples = _samples(tmp_path)
    samples[1].image.unlink()
    with pytest.raises(
        MissingFileError, match=r"1 of 3 images are not there; the first: .*im1\.png; get them from the LSP"
    ):
        check_images(samples)
    with pytest.raises(MissingFileError, match=r"1 of 1 .*the labels name no image"):
        check_images([replace(samples[0], image=None)])


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("how", ["turned", "resized", "by EXIF"])
def test_images_of_another_size_than_annotated_are_found(how: str, decode: bool, tmp_path: Path) -> None:
    samples = _samples(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    size = {"turned": (20, 30), "resized": (15, 10), "by EXIF": (30, 20)}[how]
    Image.new("RGB", size).save(samples[2].image, exif=exif if how == "by EXIF" else None)
    found = "15 x 10" if how == "resized" else "20 x 30"
    with pytest.raises(DataError, match=rf"LSP im2: .*im2\.png is {found}, annotated as 30 x 20; was it"):
        check_images(samples, decode=decode)


def test_broken_ones_are_found_when_asked(tmp_path: Path) -> None:
    samples = [replace(sample, image_size=None) for sample in _samples(tmp_path)]
    samples[0].image.write_bytes(b"no image")
    check_images(samples)
    with pytest.raises(DataError, match="LSP im0: "):
        check_images(samples, decode=True)


def test_the_six_real_images_can_be_read(shared: Path) -> None:
    samples = read_lsp(shared / "datasets/lsp/lsp-joints-PC.mat", shared / "datasets/lsp_test_images")
    check_images([sample for sample in samples if sample.image.is_file()], decode=True)
    with pytest.raises(MissingFileError, match="1994 of 2000 images are not there"):
        check_images(samples)
