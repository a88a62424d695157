"""Claim: images are read as a person sees them, and what is no image is refused by name.

Oracles: hand-made pixels, Pillow's own EXIF transposition, OpenCV's decoder for ordinary JPEGs.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, features

from cpm_port.errors import DataError, MissingFileError
from cpm_port.imaging import reading
from cpm_port.imaging.reading import decode_image, image_size, read_image
from tests.support import ROOT


def colours(height: int = 24, width: int = 40) -> np.ndarray:
    """Return a smooth RGB picture whose four corners differ."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 6, y * 10, 200 - x * 2 - y * 3], axis=2).astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_colour_comes_back_as_bgr(kind: str) -> None:
    rgb = colours()
    image = decode_image(encoded(Image.fromarray(rgb), kind, **({"lossless": True} if kind == "WEBP" else {})), "x")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert (image == rgb[:, :, ::-1]).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"quality": 80}, {"quality": 95, "progressive": True}, {"quality": 60, "subsampling": 2}]
)
def test_ordinary_jpegs_have_opencvs_pixels(mode: str, options: dict) -> None:
    data = encoded(Image.fromarray(colours()).convert(mode), "JPEG", **options)
    assert (decode_image(data, "x") == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    data = encoded(Image.fromarray(colours()), kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))[:, :, ::-1]
    result = decode_image(data, "x")
    assert result.shape == expected.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    (tmp_path / "image").write_bytes(data)
    assert image_size(tmp_path / "image") == expected.shape[1::-1]
    assert int(np.abs(result.astype(int) - expected).max()) <= (2 if kind == "JPEG" else 0)  # two JPEG decoders


def test_grey_becomes_colour() -> None:
    grey = colours()[:, :, 0]
    assert (decode_image(encoded(Image.fromarray(grey), "PNG"), "x") == grey[:, :, None]).all()


def test_transparency_lies_over_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0] = (10, 20, 30, 255)
    rgba[1, 0] = (0, 0, 0, 0)
    rgba[1, 1] = (0, 0, 0, 51)  # a fifth of black
    image = decode_image(encoded(Image.fromarray(rgba), "PNG"), "x")
    assert (image[0] == (30, 20, 10)).all()
    assert (image[1, 0] == 255).all()
    assert (image[1, 1] == 204).all()


def test_grey_with_alpha_lies_over_white() -> None:
    pixels = np.array([[[40, 255], [40, 0]]], np.uint8)
    image = decode_image(encoded(Image.fromarray(pixels), "PNG"), "x")
    assert image[0].tolist() == [[40] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_are_looked_up_and_their_transparency_is_white(kind: str) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([1, 2, 3, 200, 100, 50, 9, 9, 9])
    picture.putdata([0, 1, 2])
    assert decode_image(encoded(picture, kind), "x")[0].tolist() == [[3, 2, 1], [50, 100, 200], [9, 9, 9]]
    see_through = decode_image(encoded(picture, kind, transparency=2), "x")
    assert see_through[0].tolist() == [[3, 2, 1], [50, 100, 200], [255, 255, 255]]


def test_a_colour_key_is_white() -> None:
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    image = decode_image(encoded(Image.fromarray(rgb), "PNG", transparency=(4, 5, 6)), "x")
    assert image[0].tolist() == [[3, 2, 1], [255, 255, 255]]


def test_one_bit_is_black_and_white() -> None:
    picture = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    assert decode_image(encoded(picture, "PNG"), "x")[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    wide = np.array([[0, 0x12FF, 0x8000, 0xFFFF]], np.uint16)
    image = decode_image(encoded(Image.fromarray(wide), kind), "x")
    assert image[0, :, 1].tolist() == [0, 0x12, 0x80, 0xFF]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colour_keeps_its_high_byte(suffix: str) -> None:
    wide = np.array([[[0x0100, 0x12FF, 0x8000], [0xFFFF, 0x00FF, 0x7FFF]]], np.uint16)
    done, data = cv2.imencode(suffix, wide)
    assert done
    assert decode_image(data.tobytes(), "x")[0].tolist() == [[0x01, 0x12, 0x80], [0xFF, 0x00, 0x7F]]


def test_cmyk_jpegs_are_mixed_of_their_inks() -> None:
    inks = np.full((16, 16, 4), (0, 255, 255, 0), np.uint8)  # magenta and yellow make red
    image = decode_image(encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95), "x")
    assert int(np.abs(image.astype(int) - (0, 0, 255)).max()) < 12


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, "x") == 10).all()


def test_paths_may_hold_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "größe 写真 ☺.jpg"
    path.write_bytes(encoded(Image.fromarray(colours()), "JPEG"))
    assert read_image(path).shape == (24, 40, 3)


def test_the_end_of_a_thumbnail_is_not_the_pictures() -> None:
    thumbnail = encoded(Image.fromarray(colours(8, 8)), "JPEG")
    whole = encoded(Image.fromarray(colours()), "JPEG", comment=thumbnail)
    assert decode_image(whole, "x").shape == (24, 40, 3)
    with pytest.raises(DataError, match="ends before its end marker"):
        decode_image(whole[:-2], "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_files_cut_short_are_refused_by_name(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(DataError, match=r"some/file\.x: "):
            decode_image(data[: int(len(data) * share)], "some/file.x")


def test_a_png_with_a_flipped_byte_is_refused() -> None:
    data = bytearray(encoded(Image.fromarray(colours()), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError, match="corrupt or cut short"):
        decode_image(bytes(data), "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not an image of a known kind"),
        (
            b"\0\0\0\x18ftypheic" + bytes(20),
            r"a HEIC picture, .*(pip install 'cpm_port\[heic\]'|is damaged or cut short)",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known kind"),
        (b"\xff\xd8\xff", "not an image|corrupt"),
        (b"\x89PNG\r\n\x1a\n", "not an image|corrupt"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_image(data, "x")


def test_a_file_that_claims_to_be_huge_is_refused_before_decoding() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match="pixels"):
        decode_image(bomb, "x")


def test_float_samples_are_refused() -> None:
    with pytest.raises(DataError, match="samples are floats"):
        decode_image(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "x")


def test_samples_of_32_bits_are_refused() -> None:
    with pytest.raises(DataError, match="expected 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(np.full((2, 2), 70000, np.int32)), "TIFF"), "x")


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_files_without_permission_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(path)


def png_of(width: int, height: int, colour_type: int, claimed: int | None = None) -> bytes:
    """A PNG whose pixels are all 0, of any size in few bytes; it may claim more rows than it has."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = 1 + width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    packer, packed = zlib.compressobj(9), []
    for _ in range(height):
        packed.append(packer.compress(bytes(row)))
    palette = chunk(b"PLTE", bytes(3)) + chunk(b"tRNS", b"\x80") if colour_type == 3 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, claimed or height, 8, colour_type, 0, 0, 0))
    content = chunk(b"IDAT", b"".join(packed) + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + head + palette + content + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour_type", [0, 2, 3, 6])
def test_a_picture_that_takes_much_more_than_its_file_is_refused_before_it_is_decoded(colour_type: int) -> None:
    with pytest.raises(DataError, match="an image of 13000 x 13000, which takes 1128 MiB to decode, in a file of"):
        decode_image(png_of(13_000, 10, colour_type, claimed=13_000), "x")


@pytest.mark.parametrize("colour_type", [2, 3, 4, 6])
def test_decoding_takes_what_it_says(colour_type: int) -> None:
    """7 bytes a pixel, in a process of its own whose peak is measured."""
    code = (
        "import resource, sys\nfrom cpm_port.imaging.reading import decode_image\n"
        "from tests.imaging.test_reading import png_of\n"
        "small, large = (png_of(3000, rows, int(sys.argv[1])) for rows in (10, 10_000))\ndecode_image(small, 'x')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\ndecode_image(large, 'x')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(colour_type)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 7.5 * 30e6


def test_memory_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cpm_port.imaging.reading._bgr", fail)
    with pytest.raises(DataError, match="x: there is not enough memory to decode it"):
        decode_image(encoded(Image.fromarray(colours()), "PNG"), "x")


def test_bands_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for mode, shape in (("RGBA", (40, 30, 4)), ("LA", (40, 30, 2)), ("RGB", (40, 30, 3)), ("L", (40, 30))):
        data = encoded(Image.fromarray(draw.integers(0, 256, shape, np.uint8), mode), "PNG")
        whole = decode_image(data, "x")
        with monkeypatch.context() as patch:
            patch.setattr("cpm_port.imaging.reading._BAND_ROWS", 7)
            assert (decode_image(data, "x") == whole).all()


@pytest.mark.parametrize("name", ["/dev/zero", "nul\0name"])
def test_what_is_no_file_is_not_read(name: str) -> None:
    with pytest.raises(DataError):
        read_image(name)


@pytest.mark.parametrize(("kind", "feature"), [("AVIF", "avif"), ("JPEG2000", "jpg_2000")])
def test_avif_and_jpeg_2000_are_read_where_their_decoders_are_there(kind: str, feature: str) -> None:
    if not features.check(feature):
        pytest.skip(f"Pillow was built without {kind}")
    flat = Image.new("RGB", (32, 24), (200, 100, 50))
    found = decode_image(encoded(flat, kind), "x")
    assert found.shape == (24, 32, 3)
    assert np.abs(found.astype(int) - (50, 100, 200)).max() <= 6  # both lose a little


@pytest.mark.parametrize("there", [True, False])
def test_a_damaged_avif_is_told_from_one_that_no_decoder_is_here_for(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_formats", lambda: ("PNG", "AVIF") if there else ("PNG",))
    message = (
        "begins as an AVIF picture, and is damaged" if there else "an AVIF picture, which Pillow does not read here"
    )
    with pytest.raises(DataError, match=message):
        decode_image(b"\0\0\0\x18ftypavif" + bytes(20), "x")
