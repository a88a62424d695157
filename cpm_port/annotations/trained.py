"""The people of each data set that are trained on, from its label file, with what training asks of a sample.

FILES -> SAMPLES: the one door for writing training records, as `scored.py` is for scoring. Test people are left out;
center and scale are there (by `mpi_like_scale.py` where the data set has none, of people with any label), and so are
the sizes of the images, which are opened for that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from cpm_port.annotations.flic import read_flic
from cpm_port.annotations.lsp import read_lsp, read_lspet
from cpm_port.annotations.mpi_like_scale import with_mpi_like_scale
from cpm_port.annotations.mpii import read_mpii
from cpm_port.annotations.samples import Sample

__all__ = ["TRAINED", "read_trained"]

TRAINED = {"lsp": read_lsp, "lspet": read_lspet, "mpii": read_mpii, "flic": read_flic}
"""Data sets and the readers of their label files."""


def read_trained(dataset: str, labels: str | Path, images: str | Path) -> list[Sample]:
    """Read the people to train on.

    Parameters
    ----------
    dataset : str
        A key of `TRAINED`.
    labels, images : path
        The data set's label file, and the folder of its images.

    Raises
    ------
    MissingFileError, DataError
        As of the readers; or a sample has no image.
    OSError
        An image is not there, or is none.
    """
    samples = [sample for sample in TRAINED[dataset](labels, images) if sample.split != "test"]
    if any(sample.person.scale is None for sample in samples):
        samples = with_mpi_like_scale([sample for sample in samples if sample.person.annotated.any()])
    sizes: dict[Path, tuple[int, int]] = {}
    result = []
    for sample in samples:
        path = sample.require_image()
        if path not in sizes:
            with Image.open(path) as image:
                sizes[path] = image.size
        result.append(replace(sample, image_size=sizes[path]))
    return result
