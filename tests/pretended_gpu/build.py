"""The pretended device's C++: compiled once per installed torch and source, and loaded before torch.

Torch asks once, while it is imported, whether there is CUDA, and keeps the answer: so nothing here imports torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["load", "why_absent"]

OLDEST = (2, 12)
"""Of torch: the headers that the device is written for."""

_SOURCE = Path(__file__).with_name("device.cpp")


def why_absent() -> str | None:
    """Return why no GPU can be pretended here, None where it can."""
    version = importlib.metadata.version("torch")
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < OLDEST:
        return f"the pretended GPU needs torch {'.'.join(map(str, OLDEST))}, this is {version}"
    if any((_torch() / "lib").glob("libtorch_cuda*")):
        return "this torch is built for CUDA: use a GPU, or a CPU build of torch to pretend one"
    if sys.platform != "linux":
        return f"the pretended GPU is for Linux, this is {sys.platform}"
    if _compiler() is None and not _library().exists():
        return "no C++ compiler is here (g++, c++ or $CXX) to make the pretended GPU"
    return None


def load() -> ctypes.CDLL:
    """Compile the device if that was not done yet, and load it; torch must not have been imported.

    Raises
    ------
    RuntimeError
        It has.
    """
    if "torch" in sys.modules:
        raise RuntimeError("torch is imported already and believes that there is no GPU: load the pretended one first")
    library = _library()
    if not library.exists():
        _compile(library)
    loaded = ctypes.CDLL(str(library))
    for name in ("device", "stream", "new_stream", "bytes", "peak", "freed", "opened"):
        getattr(loaded, f"pretended_{name}").restype = ctypes.c_int64
    for name in ("stream", "set_device", "set_stream"):
        getattr(loaded, f"pretended_{name}").argtypes = [ctypes.c_int64] * (2 if name == "set_stream" else 1)
    return loaded


def _torch() -> Path:
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")


def _library() -> Path:
    versions = f"{importlib.metadata.version('torch')} at {_torch()} {sys.version}".encode()
    known = hashlib.sha256(_SOURCE.read_bytes() + versions).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "cpm_port" / f"pretended_gpu-{known}.so"


def _compile(library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    root, compiler = _torch(), _compiler()
    assert compiler is not None
    unfinished = library.with_suffix(f".{os.getpid()}")
    includes = [root / "include", root / "include" / "torch" / "csrc" / "api" / "include"]
    subprocess.run(
        [compiler, "-std=c++20", "-O0", "-w", "-fPIC", "-shared", str(_SOURCE), "-o", str(unfinished)]
        + [f"-I{path}" for path in includes]
        + [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"],
        check=True,
    )
    unfinished.replace(library)
