"""Prediction files of every known kind: one function reads them, one writes them.

| kind | in | out |
| --- | --- | --- |
| `.h5`, this package's: `preds`, `scores`, `names`; order, base and centricity as attributes | yes | yes |
| `.h5` of others: `preds`, N x P x 2 or MATLAB's reversed 2 x P x N, 1-based | yes | |
| `.mat` of the release, MPII's benchmarks, the hourglass code, Tompson et al. (`mat_files`) | yes | `prediction_all` |
| `.mat`, MPII submission | yes | `mat_files.write_mpii_submission` |
| `.json`, COCO keypoint results (`json_files`) | yes | yes |
| a folder of OpenPose JSON (`json_files`) | yes | yes |
| `.json` that `cpm-port predict` wrote of an image, or a folder of them (`predicted`) | yes | |

Conventions: what is read is 0-based whatever the file was. What a file leaves open, the caller may state; a
statement that contradicts a file of this package is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.files.hdf5 import create_hdf5, open_hdf5
from cpm_port.parts import CENTRICITIES, MPII16, ORDERS, Centricity, Convention, Joints, PartOrder
from cpm_port.predictions.json_files import centricity_of, read_coco, read_openpose, write_coco, write_openpose
from cpm_port.predictions.mat_files import read_prediction_mat, write_prediction_all
from cpm_port.predictions.predicted import is_result, read_predicted
from cpm_port.predictions.values import Predictions

__all__ = ["read_predictions", "require_writable", "write_predictions"]

_FORMAT = "cpm_port predictions"


def read_predictions(
    path: str | Path,
    *,
    order: PartOrder | None = None,
    base: Literal[0, 1] | None = None,
    centric: Centricity | None = None,
) -> Predictions:
    """Read a prediction file of any kind above.

    Parameters
    ----------
    path : path
        A file, or a folder of OpenPose's files or of `cpm-port predict`'s.
    order : PartOrder, optional
        Order of its parts: needed for COCO's JSON, otherwise the kind's own.
    base : {0, 1}, optional
        Index base of its coordinates, otherwise the kind's own (MATLAB and others' h5: 1; JSON: 0).
    centric : {"person", "observer"}, optional
        Otherwise observer for FLIC, person for the rest.

    Returns
    -------
    Predictions
        0-based, in the file's order of parts and rows.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        The file is of no known kind, corrupt, or contradicts what is stated.
    UsageError
        COCO's JSON without an order, or OpenPose's whose number of parts does not say it.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import LSP14, Convention, Joints
    >>> from cpm_port.predictions.files import read_predictions, write_predictions
    >>> from cpm_port.predictions.values import Predictions
    >>> joints = Joints(np.zeros((1, 14, 2)), Convention(LSP14))
    >>> write_predictions("people.mat", Predictions(joints, None, ("im1.jpg",), "made here"))
    >>> str(read_predictions("people.mat").joints.convention)
    'lsp14, 0-based, person-centric'
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"predictions {path} are not there")
    if path.suffix == ".mat":
        read, own_base = read_prediction_mat(path, order=order, centric=centric), 1
    elif path.suffix in (".h5", ".hdf5"):
        read, own_base = _read_h5(path, order, base, centric)
    elif path.is_dir():
        from_openpose = any(path.glob("*_keypoints.json"))
        read, own_base = (read_openpose if from_openpose else read_predicted)(path, order, centric), 0
    elif path.suffix == ".json":
        read, own_base = _read_json(path, order, centric), 0
    else:
        raise DataError(f"{path}: not a known kind of prediction file (.mat, .h5, .json or a folder of JSON)")
    if base is None or base == own_base:
        return read
    return _restated(read, own_base, base)


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions as the name says: `.h5`, `.mat`, `.json` (COCO), no suffix (OpenPose folder).

    Raises
    ------
    UsageError
        Another suffix, or JSON from predictions without names.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import LSP14, Convention, Joints
    >>> from cpm_port.predictions.files import read_predictions, write_predictions
    >>> from cpm_port.predictions.values import Predictions
    >>> joints = Joints(np.zeros((1, 14, 2)), Convention(LSP14))
    >>> write_predictions("people.h5", Predictions(joints, np.ones((1, 14)), ("im1.jpg",), "made here"))
    >>> read_predictions("people.h5").joints.xy.shape
    (1, 14, 2)
    """
    path = Path(path)
    require_writable(path)
    if path.suffix in (".h5", ".hdf5"):
        _write_h5(path, predictions)
    elif path.suffix == ".mat":
        write_prediction_all(path, predictions)
    elif path.suffix == ".json":
        write_coco(path, predictions)
    else:
        write_openpose(path, predictions)


def require_writable(path: Path) -> None:
    """Refuse a name that says no kind which `write_predictions` writes: before anything is computed.

    Raises
    ------
    UsageError
        It ends otherwise.

    Examples
    --------
    >>> require_writable(Path("predictions.h5"))
    >>> require_writable(Path("predictions.csv"))
    Traceback (most recent call last):
        ...
    cpm_port.errors.UsageError: predictions.csv: expected a name ending in .h5, .mat or .json, or a folder's name
    """
    if path.suffix not in (".h5", ".hdf5", ".mat", ".json", ""):
        raise UsageError(f"{path}: expected a name ending in .h5, .mat or .json, or a folder's name")


def _read_json(path: Path, order: PartOrder | None, centric: Centricity | None) -> Predictions:
    if is_result(path):
        return read_predicted(path, order, centric)
    if order is None:
        raise UsageError(f"{path}: COCO's JSON does not say the order of its parts; state one of {', '.join(ORDERS)}")
    return read_coco(path, Convention(order, 0, centricity_of(order, centric)))


def _restated(read: Predictions, assumed: int, stated: int) -> Predictions:
    """Undo the shift of the index base that was assumed, and make the stated one."""
    shift = assumed - stated
    return replace(read, joints=Joints(read.joints.xy + shift, read.joints.convention))


def _write_h5(path: Path, predictions: Predictions) -> None:
    convention = predictions.joints.convention
    with create_hdf5(path, track_order=True) as file:
        file.attrs["format"] = _FORMAT
        file.attrs["order"] = convention.order.name
        file.attrs["base"] = convention.base
        file.attrs["centric"] = convention.centric
        if ORDERS.get(convention.order.name) != convention.order:
            file["parts"] = [part.encode() for part in convention.order.parts]
        file["preds"] = predictions.joints.xy
        if predictions.scores is not None:
            file["scores"] = predictions.scores
        if predictions.names is not None:
            file["names"] = [name.encode() for name in predictions.names]


def _read_h5(
    path: Path, order: PartOrder | None, base: int | None, centric: Centricity | None
) -> tuple[Predictions, int]:
    """Return the predictions, 0-based, and the base that was taken for the file's."""
    with open_hdf5(path) as file:
        xy = file.array("preds")
        attributes = {name: file.attribute(name) for name in ("format", "order", "base", "centric")}
        scores = file.array("scores") if file.member("scores") is not None else None
        names = tuple(file.texts("names", len(xy))) if file.member("names") is not None else None
        parts = file.texts("parts", xy.shape[1]) if file.member("parts") is not None and xy.ndim == 3 else None
    if attributes.get("format") == _FORMAT:
        convention = _stated_convention(attributes, parts, path)
        for name, stated, found in (
            ("order", order and order.name, convention.order.name),
            ("base", base, convention.base),
            ("centric", centric, convention.centric),
        ):
            if stated is not None and stated != found:
                raise DataError(f"{path}: its own {name} is {found!r}, expected {stated!r} as stated")
        joints = Joints(_require_points(xy, path), convention).to(Convention(convention.order, 0, convention.centric))
        return Predictions(joints, scores, names, str(path)), convention.base
    order = order or MPII16
    if xy.ndim == 3 and xy.shape[0] == 2 and xy.shape[2] != 2:  # MATLAB's axes, reversed by HDF5
        xy = np.ascontiguousarray(xy.transpose(2, 1, 0))
    xy = _require_points(xy, path)
    if xy.shape[1] != len(order):
        raise DataError(f"{path}: 'preds' has {xy.shape[1]} parts, order {order.name!r} has {len(order)}")
    joints = Joints(xy, Convention(order, 1, centricity_of(order, centric)))
    return Predictions(joints.to(Convention(order, 0, joints.convention.centric)), scores, names, str(path)), 1


def _stated_convention(
    attributes: Mapping[str, str | int | None], parts: Sequence[str] | None, path: Path
) -> Convention:
    """Return what the attributes say; `parts` are the names of an order that is none of the package's."""
    name, base, centric = (attributes.get(name) for name in ("order", "base", "centric"))
    order = ORDERS.get(str(name)) if parts is None else PartOrder(str(name), tuple(parts), ())
    if order is None or len(set(order.parts)) < len(order) or base not in (0, 1) or centric not in CENTRICITIES:
        raise DataError(
            f"{path}: its attributes are order {name!r}, base {base!r}, centric {centric!r}; "
            f"expected a known order, 0 or 1, and one of {', '.join(CENTRICITIES)}"
        )
    return Convention(order, 1 if base == 1 else 0, "observer" if centric == "observer" else "person")


def _require_points(xy: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    if xy.ndim != 3 or xy.shape[2] != 2:
        raise DataError(f"{path}: 'preds' has shape {xy.shape}, expected (N, P, 2)")
    return xy
