"""A file of another kind is told by what it is. Oracles: files that the tools themselves made, or as formats say."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from cpm_port.caffe import read_mean, read_net, read_solver, read_weights
from cpm_port.caffe.kinds import looks_like_text
from cpm_port.errors import CaffeFormatError
from tests.caffe.support import SOLVER

MODEL = (SOLVER / "init.caffemodel").read_bytes()
NET = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'


def _zip(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return held.getvalue()


def _tar() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("m.caffemodel"))
    return held.getvalue()


def _numpy() -> bytes:
    held = io.BytesIO()
    np.save(held, np.ones(3, np.float32))
    return held.getvalue()


KINDS = {
    "gzip": (gzip.compress(MODEL), "a gzip file; unpack it first"),
    "bzip2": (bz2.compress(MODEL), "a bzip2 file; unpack it first"),
    "xz": (lzma.compress(MODEL), "an xz file; unpack it first"),
    "tar": (_tar(), "a tar archive; unpack it first"),
    "zip": (_zip("m.caffemodel"), "a zip archive; unpack it first"),
    "pth": (_zip("m/data.pkl", "m/version"), "a PyTorch file, .*; save its tensors as .safetensors"),
    "npz": (_zip("data.npy"), "a NumPy .npz file"),
    "npy": (_numpy(), "a NumPy .npy file"),
    "pickle": (pickle.dumps({"a": 1}, protocol=2), "a Python pickle, which runs code"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
    "html": (b"\n<!DOCTYPE html><html>404</html>\n", "an HTML or XML page; the download failed"),
    "utf16": (NET.encode("utf-16"), "UTF-16 text.*; save it as UTF-8"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
    "mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB .mat file"),
    "safetensors": (b"\x40\0\0\0\0\0\0\0{" + b" " * 80, "a safetensors file"),
}


@pytest.mark.parametrize("read", [read_weights, read_net, read_mean, read_solver])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_caffe_file_is_told_by_what_it_is(kind, read, tmp_path):
    data, told = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(CaffeFormatError, match=rf"file: this is {told}.*expected"):
        read(path)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("# \u7f51\u7edc\u7ed3\u6784\u6587\u4ef6\nname: 'net'\n".encode(), True),
        (("# " + "\u5c42" * 600).encode(), True),  # cut within a character
        ("# r\u00e9seau".encode("latin-1"), True),
        (b"\xe5\xb1\x82\x12\x08", False),
        (b"\xff\xfe\xfd", False),
        (b"", False),
    ],
)
def test_text_in_any_language_is_text(head: bytes, text: bool) -> None:
    assert looks_like_text(head) is text
