"""Are the samples' images there, and can they be read? Asked before a long run, not in the middle of it.

FILES -> SAMPLES. The readers name images and open none; this checks all of them at once and says where the missing ones
come from.
"""

from __future__ import annotations

from collections.abc import Sequence

from cpm_port.annotations.samples import Sample
from cpm_port.errors import CpmPortError, DataError, MissingFileError
from cpm_port.imaging.reading import read_image

__all__ = ["check_images"]

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
        Read each image too, and compare its size with the annotations' where they give one.

    Raises
    ------
    MissingFileError
        Images are not there: how many, the first one, and where to get them.
    DataError
        With `decode`: an image cannot be read, or has another size than annotated.
    """
    absent = [sample for sample in samples if sample.image is None or not sample.image.is_file()]
    if absent:
        first = absent[0].image or f"{absent[0].name} (the labels name no image)"
        origin = _ORIGINS.get(absent[0].dataset, f"wherever {absent[0].dataset} is from")
        raise MissingFileError(
            f"{len(absent)} of {len(samples)} images are not there; the first: {first}; get them from {origin}"
        )
    for sample in samples if decode else ():
        try:
            height, width = read_image(sample.require_image()).shape[:2]
        except CpmPortError as error:
            raise DataError(f"{sample.dataset} {sample.name}: {error}") from error
        size = sample.image_size
        if size is not None and size != (width, height):
            raise DataError(
                f"{sample.dataset} {sample.name}: {sample.image} is {width} x {height}, "
                f"annotated as {size[0]} x {size[1]}"
            )
