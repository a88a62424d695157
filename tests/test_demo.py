"""The demo's checks can fail: oracle, a bar that nothing can pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpm_port import demo


def test_a_demo_whose_two_forms_differ_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SAME", -1.0)
    monkeypatch.setattr(demo, "PEOPLE", 2)  # fewer are faster
    assert demo.main(["--out", str(tmp_path)]) == 1
    assert "THEY DIFFER" in capsys.readouterr().out


def test_the_figure_stands_in_the_middle() -> None:
    image = demo.draw_figure()
    assert (image.shape, image.dtype) == ((320, 260, 3), "uint8")
    assert tuple(image[160 - 62, 130 - 25]) != tuple(image[160 - 62, 5])
