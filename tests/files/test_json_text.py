"""JSON that Python's own reader or what follows it cannot take is refused. Oracle: cases worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cpm_port.annotations.genjson import read_genjson
from cpm_port.errors import DataError, MissingFileError
from cpm_port.evaluation.reference import load_file
from cpm_port.files.json_text import parse_json, read_json
from cpm_port.parts import CPM14
from cpm_port.predictions.files import read_predictions
from cpm_port.predictions.results import read_result

HOSTILE = {
    "deep lists": b"[" * 50_000 + b"]" * 50_000,
    "unfinished lists": b"[" * 100_000,
    "lists too deep to walk": b"[" * 400 + b"]" * 400,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "a number beyond floats": b"[1" + b"0" * 400 + b"]",
    "half a character": b'["\\ud800"]',
    "not UTF-8": b'["\xff"]',
    "nothing": b"",
}
READERS: tuple[Callable[[Path], object], ...] = (
    lambda path: read_predictions(path, order=CPM14), read_genjson, read_result, load_file,
)  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("read", READERS)
def test_every_reader_refuses_it_by_name(read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(DataError, match=r"a\.json: not readable JSON"):
        read(path)


def test_what_is_allowed_keeps_its_value(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = '{"a": [[[[1, -2.5e3, "\\ud83d\\ude00", "ŝ"]]]], "b": 123456789012345678901234567890}'
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read_json(path) == {"a": [[[[1, -2500.0, "😀", "ŝ"]]]], "b": 123456789012345678901234567890}


def test_many_values_side_by_side_are_not_deep() -> None:
    assert len(parse_json(b"[" + b",".join([b"[[]]"] * 500) + b"]", "here")) == 500


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("people", ["[5]", "[null]", '["x"]', "[[]]", "5", "null", '[{"pose_keypoints_2d": 5}]'])
def test_openpose_people_of_another_kind_are_refused(people: str, tmp_path: Path) -> None:
    (tmp_path / "a_keypoints.json").write_text(f'{{"people": {people}}}')
    with pytest.raises(DataError, match=r"a_keypoints\.json: "):
        read_predictions(tmp_path, order=CPM14)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "true", '"1"', "null", "[1]"])
def test_a_number_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'[{{"image_id": 1, "keypoints": [{value}]}}]')
    with pytest.raises(DataError, match=r"a\.json: "):
        read_predictions(tmp_path / "a.json", order=CPM14)
