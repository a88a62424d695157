"""The record of the model that ships, `reference_results/default_model.json`: what its measured scores are.

Of it are read

- `date`: when it was measured (older records lack it);
- `weights`: `sha256` and `bytes` of the shipped file;
- `scores`: a list of `dataset`, `split`, `protocol`, `threshold`, `values` (by column, percent), `hits`, `count` and
  `source` (the command that measured them); to be measured again, also `data` (the data set's folder, relative to what
  `cpm-port regress --data` names) and `hits_by_person`;
- `ways`: of the `protocol` that it names, `hits` and `auc` by way of looking;

everything else in it is for its readers. `python -m cpm_port.scorecard` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpm_port.errors import DataError
from cpm_port.evaluation.tables import Row
from cpm_port.files.json_text import read_json
from cpm_port.resources import resource_dir

__all__ = ["MIRRORED", "PYRAMID", "default_record", "recorded_row", "row_of"]

PYRAMID, MIRRORED = "pyramid", "pyramid and mirror image"
"""The record's names of two ways of looking: `scores` are of the first; `cpm-port evaluate --flip` is the second."""


def default_record() -> dict[str, Any] | None:
    """Return `reference_results/default_model.json`; None where there is none.

    Raises
    ------
    DataError
        It is no JSON, or lacks what is read of it (see the module).
    """
    path = resource_dir("reference_results") / "default_model.json"
    if not path.is_file():
        return None
    try:
        content: Any = read_json(path)
        digest, size = content["weights"]["sha256"], content["weights"]["bytes"]
        whole = len(bytes.fromhex(digest)) == 32 and isinstance(size, int)
        found = [_checked(score) for score in content["scores"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the record of the default model ({type(error).__name__}: {error})") from error
    if not whole or not found:
        raise DataError(f"{path}: expected the weights' SHA-256 and size, and a score")
    return dict(content)


def recorded_row(
    weights_sha256: str, protocol: str, threshold: float, count: int, *, mirrored: bool = False
) -> Row | None:
    """Return what the default model's record says of a score, to hold a new measurement against.

    Parameters
    ----------
    weights_sha256 : str
        Of the weights that were scored: another file has no recorded score.
    protocol, threshold
        Of the score.
    count : int
        Joints that were counted: of other people nothing is recorded.
    mirrored : bool
        Whether the mirror image was looked at as well: recorded for one protocol only.
    """
    record = default_record()
    if record is None or record["weights"]["sha256"] != weights_sha256:
        return None
    for score in record["scores"]:
        if (score["protocol"], score["threshold"], score.get("count")) == (protocol, threshold, count):
            return _mirrored(record["ways"], score) if mirrored else row_of(score)
    return None


def row_of(score: Mapping[str, Any]) -> Row:
    """Return one of the record's scores as a row to hold a measurement against."""
    target = {**score["values"], "total hits": score["hits"]}
    target |= {"auc": score["auc"]} if score.get("auc") is not None else {}
    name = f"default/{score['protocol']}@{score['threshold']:g}"
    return Row(
        name, "default", score["split"], score["protocol"], score["threshold"], "measured here", {}, score["source"],
        target, 0.0, None, {}, "",
    )  # fmt: skip


def _mirrored(ways: Mapping[str, Any], score: Mapping[str, Any]) -> Row | None:
    """Return the recorded total with the mirror image, where it is of the same protocol as a score."""
    if ways.get("protocol") != score["protocol"]:
        return None
    seen = ways[MIRRORED]
    values = {"total": 100 * seen["hits"] / score["count"]}
    return row_of({**score, "values": values, "hits": seen["hits"], "auc": seen["auc"]})


def _checked(score: Any) -> Any:
    """Return a score that has what is read of it; KeyError, TypeError or ValueError where it lacks that."""
    for key in ("dataset", "split", "protocol", "threshold", "source"):
        score[key]
    for value in score["values"].values():
        float(value)
    return score
