"""The regression page: one file that needs nothing else, whole in a browser, its pictures readable.

Oracles: Python's HTML parser; headless Chromium, which must see no console error and no broken picture (and does see
them in a page that has both).
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.reference import load_all
from cpm_port.evaluation.regress import recompute
from cpm_port.report.page import regress_page
from cpm_port.report.plots import bars, cases, curves
from cpm_port.report.ranking import extreme_cases, pictured_cases
from tests.evaluation.support import drawn_case
from tests.support import shared_dir

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--v=0", "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip
PROBE = """<script>addEventListener('load', () => {
  for (const image of document.images) if (!image.naturalWidth) console.error('broken picture: ' + image.alt)
  console.log('pictures: ' + document.images.length)
})</script>"""


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page of everything that can be recomputed here."""
    references = load_all()
    return regress_page(references, recompute(references, shared_dir()))


class _Checker(HTMLParser):
    """Collects links to other files, and tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


def test_the_page_is_one_file_without_scripts(page: str) -> None:
    checker = _Checker()
    checker.feed(page)
    assert checker.outside == []
    assert checker.open == []
    assert "script" not in checker.tags
    for row in (row for reference in load_all() for row in reference.rows):
        assert row.model in page
    assert "42.4 points" in page


def _console(tmp_path: Path, text: str) -> list[str]:
    """Open a page in Chromium; return what it wrote to the console."""
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return re.findall(r'CONSOLE:\d+\] "(.*?)", source', done.stderr) + re.findall(
        r'CONSOLE\(\d+\)\] "(.*?)", source', done.stderr
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
def test_a_browser_opens_it_without_console_errors(page: str, tmp_path: Path) -> None:
    pictures = page.count("<img ")
    assert pictures >= 6
    assert _console(tmp_path, page.replace("</body>", f"{PROBE}</body>")) == [f"pictures: {pictures}"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
def test_the_browser_does_see_errors(tmp_path: Path) -> None:
    broken = f'<body><img alt="x" src="data:image/png;base64,AAAA"><script>nothing()</script>{PROBE}</body>'
    console = _console(tmp_path, broken)
    assert "broken picture: x" in console
    assert any("nothing is not defined" in line for line in console)


def test_curves_hold_a_panel_per_column_and_a_line_per_model() -> None:
    measured = {
        name: measure(protocol_named("lsp-pc"), *drawn_case("lsp-pc", count=30, sigma=s)).curve()
        for name, s in (("good", 3), ("bad", 12))
    }
    svg = curves("title", "error / torso", measured)
    root = ElementTree.fromstring(svg)
    ids = [element.get("id", "") for element in root.iter()]
    assert sum(name.startswith("axes_") for name in ids) == 8
    assert svg == curves("title", "error / torso", measured)  # same numbers, same bytes
    assert b"date" not in svg.lower()


def test_bars_take_joints_that_were_never_annotated_and_intervals() -> None:
    predictions, truth = drawn_case("mpii-official", count=20, sigma=6)
    truth.joints.xy[:, 0] = np.nan
    result = measure(protocol_named("mpii-official"), predictions, truth).result(bootstrap_seed=0)
    assert ElementTree.fromstring(bars("title", {"a": result.joints, "b": result.joints})).tag.endswith("svg")
    assert ElementTree.fromstring(bars("title", {"a": result.parts})).tag.endswith("svg")


def test_cases_show_the_image_where_there_is_one(tmp_path: Path) -> None:
    predictions, truth = drawn_case("lsp-pc", count=5, sigma=3)
    measured = measure(protocol_named("lsp-pc"), predictions, truth)
    assert pictured_cases(measured, predictions, truth) == []
    Image.new("RGB", (90, 120), (250, 10, 200)).save(tmp_path / "im0003.png")
    object.__setattr__(truth, "images", (None, None, tmp_path / "im0003.png", tmp_path / "gone.png", None))
    (pictured,) = pictured_cases(measured, predictions, truth)
    assert pictured.image.shape == (120, 90, 3)
    shown = extreme_cases(measured, predictions, truth)
    assert len(shown) == 4
    assert shown[0].subtitle == "14 of 14, rank 1 of 5"
    assert shown[2].subtitle.endswith("rank 5 of 5")
    picture = np.asarray(Image.open(io.BytesIO(cases("title", [pictured, *shown]))).convert("RGB"))
    assert ((picture == (250, 10, 200)).all(axis=2)).sum() > 1000


def test_pictures_inside_the_page_are_what_they_say(page: str) -> None:
    for kind, content in re.findall(r'src="data:image/([a-z+]+);base64,([^"]+)"', page):
        data = base64.b64decode(content)
        if kind == "png":
            assert Image.open(io.BytesIO(data)).format == "PNG"
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")
