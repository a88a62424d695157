"""The people of each data set that are scored, from any of its label files; and where a data set's folder keeps things.

FILES -> SAMPLES: the one entry for scoring. LSP and FLIC are scored on their test images, LSPET on the people that this
package holds out, MPII on the people of its validation split (its test labels are private).
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.annotations.flic import read_flic, read_flic_h5, read_flic_raw_test
from cpm_port.annotations.genjson import read_held_out_own
from cpm_port.annotations.lsp import read_lsp
from cpm_port.annotations.lspet import read_held_out
from cpm_port.annotations.mpii import read_mpii, read_mpii_detections, read_mpii_hourglass, read_mpii_validation
from cpm_port.annotations.samples import Sample
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.files.matlab import variable_names
from cpm_port.parts import Centricity

__all__ = ["find_images", "find_labels", "read_scored"]

_LABELS = {
    ("LSP", "person"): ("lsp-joints-PC.mat", "joints.mat"),
    ("LSP", "observer"): ("lsp-joints-OC.mat", "joints.mat"),
    ("LSPET", "person"): ("joints.mat",),
    ("FLIC", "observer"): ("flic-joints-oc.mat", "examples.mat", "annot/test.h5", "test.h5"),
    ("MPI", "person"): ("annot/valid.h5", "valid.h5", "mpii_human_pose_v1_u12_1.mat"),
}


def find_labels(dataset: str, root: Path, centric: Centricity) -> Path:
    """Return a data set folder's label file.

    Raises
    ------
    UsageError
        No such data set with such labels.
    MissingFileError
        None of the known names is there; the message lists them.
    """
    names = _LABELS.get((dataset, centric))
    if names is None:
        raise UsageError(
            f"data set {dataset!r} with {centric}-centric labels: known are {', '.join(map(str, _LABELS))}"
        )
    for name in names:
        if (root / name).is_file():
            return root / name
    raise MissingFileError(f"{root}: no labels of {dataset}; expected one of {', '.join(names)}")


def find_images(root: Path) -> Path:
    """Return a data set folder's folder of images: `images` where there is one, else the folder itself."""
    return root / "images" if (root / "images").is_dir() else root


def read_scored(
    dataset: str,
    path: str | Path,
    *,
    images: str | Path | None = None,
    centric: Centricity = "person",
    absent_too: bool = False,
) -> list[Sample]:
    """Read the scored people from any known label file.

    Parameters
    ----------
    dataset : {"LSP", "LSPET", "FLIC", "MPI", "OWN"}
        Which data set.
    path : path
        OWN: an annotation file that names its parts; the people marked as validation, or all where none is.
        LSP and LSPET: a `joints` file. FLIC: `examples.mat`, `flic-joints-oc.mat`, the raw test joints, an h5. MPII:
        `detections_our_format.mat`, `tompson_valid_detections.mat`, an hourglass h5, `mpii_human_pose_v1_u12_1.mat`
        (its people with joints).
    images : path, optional
        Folder of the images; LSPET needs it, for its labels are checked against their sizes.
    centric : {"person", "observer"}
        LSP only: which labels to read.
    absent_too : bool
        LSPET only: people whose image is not there come without center and scale, instead of an error.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        The file is not one of those, or not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"ground truth {path} is not there")
    if dataset == "OWN":
        return read_held_out_own(path)
    samples = _read(dataset, path, images, centric, absent_too)
    scored = [sample for sample in samples if dataset == "MPI" or sample.split == "test"]
    if not scored:
        raise DataError(f"{path}: none of its {len(samples)} people is of the split that {dataset} scores")
    return scored


def _read(dataset: str, path: Path, images: str | Path | None, centric: Centricity, absent_too: bool) -> list[Sample]:
    if dataset == "LSP":
        return read_lsp(path, images, centric=centric)
    if dataset == "LSPET":
        return read_held_out(path, path.parent / "images" if images is None else images, absent_too=absent_too)
    if path.suffix in (".h5", ".hdf5"):
        return read_flic_h5(path, images) if dataset == "FLIC" else read_mpii_hourglass(path, images)
    found = variable_names(path)
    if dataset == "FLIC":
        return read_flic_raw_test(path) if "joints" in found else read_flic(path, images)
    if "pos_gt_src" in found:
        return read_mpii_detections(path)
    if "annolist" in found:
        return read_mpii_validation(path)
    return read_mpii(path, images)
