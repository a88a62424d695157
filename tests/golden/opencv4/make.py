"""Make `warp.npz`: OpenCV 4's resize and warpAffine on seeded noise. Run with OpenCV 4: `python make.py`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZES = ((37, 29), (24, 40), (9, 5))  # height, width
SCALES = (0.53, 0.8, 1.0, 1.17, 1.5, 2.7)
DEGREES = (0.0, 13.0, 90.0, -170.3)


def main() -> None:
    assert cv2.__version__.startswith("4."), cv2.__version__
    cv2.ipp.setUseIPP(False)
    draw = np.random.RandomState(4)
    arrays = {}
    for height, width in SIZES:
        name = f"{height}x{width}"
        image = draw.randint(0, 256, (height, width, 3)).astype(np.uint8)
        arrays[f"{name}/image"] = image
        for scale in SCALES:
            arrays[f"{name}/resize/{scale}"] = cv2.resize(
                image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
            )
        for degree in DEGREES:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degree, 1)
            matrix[:, 2] += (2.5, 1.25)
            arrays[f"{name}/matrix/{degree}"] = matrix
            arrays[f"{name}/warp/{degree}"] = cv2.warpAffine(
                image,
                matrix,
                (width + 6, height + 3),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(128, 128, 128),
            )
    np.savez_compressed(Path(__file__).with_name("warp.npz"), **arrays)


if __name__ == "__main__":
    main()
