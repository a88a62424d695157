"""OpenCV's `cv2`, from whatever build of it is installed: `opencv-python`, its headless or contrib forms, a system's.

Everything in the package that needs `cv2` takes it from here, so that where it is absent, or a library that it needs
(bare servers lack `libGL.so.1`, though no window is ever opened), one sentence says so.
"""

from __future__ import annotations

from cpm_port.errors import MissingDependencyError

try:
    import cv2
except ImportError as error:
    raise MissingDependencyError(
        f"OpenCV (cv2) cannot be imported: {error}; `pip install opencv-python-headless` brings a build that needs no "
        "window system, or install what is missing by the system's packages (libgl1 has libGL.so.1)"
    ) from error

__all__ = ["cv2"]
