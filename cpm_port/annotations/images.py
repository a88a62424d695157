"""Are the samples' images there, and can they be read? Asked before a long run, not in the middle of it.

FILES -> SAMPLES. The readers name images and open none; this checks all of them at once and says where the missing ones
come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cpm_port.annotations.samples import Sample
from cpm_port.errors import CpmPortError, DataError, MissingFileError
from cpm_port.imaging.reading import image_size, read_image

__all__ = ["check_images", "present"]

_ORIGINS = {
    "LSP": "the LSP data set's page (lsp_dataset: im0001.jpg to im2000.jpg)",
    "LSPET": "the LSP extended training set's page (im00001.jpg to im10000.jpg)",
    "LEEDS": "the LSP data set's page (lsp_dataset: im0001.jpg to im2000.jpg)",
    "MPI": "the MPII Human Pose data set's page (mpii_human_pose_v1.tar.gz)",
    "FLIC": "the FLIC data set's page (FLIC.zip)",
}


def check_images(samples: Sequence[Sample], *, decode: bool = False) -> None:
    """Check every sample's image.

    Parameters
    ----------
    samples : sequence of Sample
    decode : bool
        Read each image too.

    Raises
    ------
    MissingFileError
        Images are not there: how many, the first one, and where to get them.
    DataError
        An image has another size than annotated, where the annotations give one; with `decode`: it cannot be read.
    """
    absent = [sample for sample in samples if sample.image is None or not sample.image.is_file()]
    if absent:
        first = absent[0].image or f"{absent[0].name} (the labels name no image)"
        origin = _ORIGINS.get(absent[0].dataset)
        where = "the annotations name other places than they lie in" if origin is None else f"get them from {origin}"
        raise MissingFileError(f"{len(absent)} of {len(samples)} images are not there; the first: {first}; {where}")
    sizes: dict[Path, tuple[int, int]] = {}
    for sample in samples:
        if not decode and sample.image_size is None:
            continue
        path = sample.require_image()
        try:
            if path not in sizes:
                sizes[path] = _decoded_size(path) if decode else image_size(path)
            sample.check_size(sizes[path])
        except CpmPortError as error:
            name = f"{sample.dataset} {sample.name}: "
            raise DataError(name + str(error).removeprefix(name)) from error


def present(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples whose images are there.

    Raises
    ------
    MissingFileError
        As `check_images`, where not one is there.
    """
    found = [sample for sample in samples if sample.image is not None and sample.image.is_file()]
    if not found:
        check_images(samples)
    return found


def _decoded_size(path: Path) -> tuple[int, int]:
    height, width = read_image(path).shape[:2]
    return width, height
