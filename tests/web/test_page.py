"""Claim: everything that the page offers works in a real Chromium, and its joints are those of `cpm-port predict`.

Oracle: the pipeline called from Python; what a person would see, read from the page. The browser is Debian's
`chromium`, driven by Playwright; where it is absent, these tests skip.

No test waits for a time, only for what must come.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

import cpm_port
from cpm_port.web import app as app_module
from cpm_port.zoo import Choice
from tests.web.serving import Client, serving, tiny_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PATIENCE_MS = 180_000  # of a machine whose cores others use
TINY = "tiny.caffemodel"
LIGHTS = ("light", "dark")


def drawn() -> np.ndarray:
    return cpm_port.DrawnPeople(seed=5, difficulty=0, size=256)[0][1]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "person.png"
    cv2.imwrite(str(path), drawn())
    return path


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> Choice:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(choice: Choice) -> Iterator[Client]:
    with serving(choice) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and what the browser said of it."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def ready(self) -> Any:
        self.page.wait_for_selector("#find:not([disabled])")
        return self.page

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def slide(self, name: str, value: float) -> None:
        """Move a slider as a person does: the value, and the event."""
        self.page.eval_on_selector(f"#{name}", "(s, v) => { s.value = v; s.dispatchEvent(new Event('input')); }", value)

    def open(self, path: Path) -> None:
        self.page.set_input_files("#file", str(path))
        self.page.wait_for_selector(f"figcaption:has-text('{path.name}')")

    def box(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Drag with the mouse, in the picture's px."""
        (ax, ay), (bx, by) = self.at(x1, y1), self.at(x2, y2)
        self.page.mouse.move(ax, ay)
        self.page.mouse.down()
        self.page.mouse.move((ax + bx) / 2, (ay + by) / 2)
        self.page.mouse.move(bx, by)
        self.page.mouse.up()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a picture's px is in the window."""
        frame = self.page.locator(".frame").first.bounding_box()
        width = self.page.evaluate("document.querySelector('.frame img').naturalWidth")
        zoom = frame["width"] / width
        return frame["x"] + x * zoom, frame["y"] + y * zoom

    def find(self) -> None:
        self.page.click("#find")
        self.page.wait_for_selector("#progress", state="hidden")
        assert self.text("#error") == ""
        self.page.wait_for_selector("#found:not([hidden])")

    def until(self, what: str) -> None:
        """Wait for a condition in JavaScript; Playwright's own wait compiles text, which the page's policy forbids."""
        while not self.page.evaluate(f"() => {what}"):
            self.page.wait_for_timeout(20)

    def choose(self, person: int) -> None:
        """Choose a person; their maps are loaded before they are shown."""
        button = self.page.locator("#people button").nth(person)
        button.click()
        self.page.wait_for_selector(f"#people button:nth-child({person + 1})[aria-checked=true]")

    def boxes(self) -> list[list[int]]:
        """Return the boxes' px, as their labels' readers hear them."""
        found = []
        for label in self.page.eval_on_selector_all(".box", "all => all.map(one => one.ariaLabel)"):
            words = label.replace(",", "").replace(";", "").split()
            found.append([int(words[i]) for i in (3, 5, 6, 8)])
        return found

    def table(self) -> dict[str, list[float]]:
        """Return the table of joints: part -> numbers."""
        rows = self.page.eval_on_selector_all(
            "#joints tr", "all => all.map(row => [...row.children].map(cell => cell.textContent))"
        )
        return {row[0].replace(" ", "_"): [float(text) for text in row[1:]] for row in rows}

    def heat(self) -> np.ndarray:
        """Return how much the belief map hides of every pixel of the first view's canvas, 0 to 255."""
        numbers = self.page.evaluate(
            """() => {
              const shown = document.querySelector(".frame canvas");
              const canvas = new OffscreenCanvas(shown.width, shown.height);
              const context = canvas.getContext("2d", { willReadFrequently: true });
              context.drawImage(shown, 0, 0);
              const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
              return [canvas.width, canvas.height, [...data.filter((_, i) => i % 4 === 3)]];
            }"""
        )
        return np.array(numbers[2], float).reshape(numbers[1], numbers[0])


@pytest.fixture
def visit(browser: Any, server: Client) -> Iterator[Callable[..., Visit]]:
    """Open the page; in the end nobody but the server was asked, and the console is empty."""
    visits: list[Visit] = []

    def opened(**options: Any) -> Visit:
        visits.append(Visit(browser, server.url, **{"viewport": {"width": 1280, "height": 900}, **options}))
        visits[-1].ready()
        return visits[-1]

    yield opened
    for one in visits:
        one.context.close()
        assert one.said == []
        assert [url for url in one.asked if not url.startswith((server.url + "/", f"blob:{server.url}/"))] == []


def chosen(visit: Visit, model: str) -> Visit:
    visit.page.select_option("#model", model)
    return visit


# Pictures in.


def test_an_example_is_at_hand_and_the_first_click_shows_joints(visit: Callable[..., Visit]) -> None:
    here = visit()
    assert "example.png, 485 × 647 px" in here.text("figcaption >> nth=0")
    assert here.page.is_hidden("#found")
    here.find()
    assert here.page.locator("circle.joint").count() > 0


def test_a_picture_can_be_opened_dropped_and_pasted(visit: Callable[..., Visit], picture: Path) -> None:
    here = visit()
    size = "{1} × {0} px".format(*drawn().shape)
    here.open(picture)
    assert size in here.text("figcaption >> nth=0")
    for kind, carrier in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        here.page.evaluate(
            """async ([kind, carrier, address, name]) => {
              const blob = await (await fetch(address)).blob();
              const data = new DataTransfer();
              data.items.add(new File([blob], name, { type: "image/png" }));
              const event = kind === "drop"
                ? new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent(kind, { clipboardData: data, bubbles: true });
              document.body.dispatchEvent(event);
            }""",
            [kind, carrier, "/page/icon.svg", "not_a_picture.svg"],
        )
        here.page.wait_for_selector("#error:not([hidden])")
        assert here.text("#error").startswith("not_a_picture.svg: not an image of a known kind")
        assert "save this one again as JPEG or PNG" in here.text("#error")
        here.open(picture)  # an error goes with the next picture
        assert here.page.is_hidden("#error")
    here.said = [text for text in here.said if "status of 400" not in text]  # which the browser says by itself


def test_dropped_pictures_are_taken(visit: Callable[..., Visit]) -> None:
    here = visit()
    for kind, name in (("drop", "dropped.png"), ("paste", "pasted.png")):
        here.page.evaluate(
            """async ([kind, name]) => {
              const canvas = new OffscreenCanvas(60, 80);
              canvas.getContext("2d").fillRect(0, 0, 30, 30);
              const data = new DataTransfer();
              data.items.add(new File([await canvas.convertToBlob()], name, { type: "image/png" }));
              const event = kind === "drop"
                ? new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent(kind, { clipboardData: data, bubbles: true });
              document.body.dispatchEvent(event);
            }""",
            [kind, name],
        )
        here.page.wait_for_selector(f"figcaption:has-text('{name}, 60 × 80 px')")


def test_the_camera_gives_a_picture(visit: Callable[..., Visit]) -> None:
    here = visit(permissions=["camera"])
    here.page.click("#camera")
    here.until("document.getElementById('camera-picture').videoWidth > 0")
    here.page.click("#shoot")
    here.page.wait_for_selector("figcaption:has-text('camera.png')")
    assert here.page.evaluate("document.getElementById('camera-picture').srcObject") is None  # its light is off


# Who is looked for.


def test_find_people_finds_whom_predict_finds(visit: Callable[..., Visit], picture: Path) -> None:
    wanted = cpm_port.predict(picture)
    here = chosen(visit(), "default")
    here.open(picture)
    here.find()
    assert here.page.locator("#people button").count() == len(wanted)
    for number, person in enumerate(wanted):
        here.choose(number)
        table = here.table()
        assert list(table) == list(person.part_order.parts)
        np.testing.assert_allclose([row[:2] for row in table.values()], person.joints, atol=0.051)
        np.testing.assert_allclose([row[2] for row in table.values()], person.scores, atol=0.0051)


def test_boxes_are_dragged_and_say_their_pixels_and_scales(visit: Callable[..., Visit], picture: Path) -> None:
    here = chosen(visit(), "default")
    here.open(picture)
    here.box(20, 30, 120, 250)
    here.box(130, 40, 210, 200)
    (x, y, w, h), second = here.boxes()
    np.testing.assert_allclose([x, y, w, h], [20, 30, 100, 220], atol=1)
    np.testing.assert_allclose(second, [130, 40, 80, 160], atol=1)
    assert here.text("#find") == "Find joints in 2 boxes"
    wanted = cpm_port.predict(picture, boxes=[(x, y, w, h)])[0].prediction.search.scales
    assert here.text(".box >> nth=0 >> .label") == f"{w} × {h} px · scales {wanted[0]:#.3g} to {wanted[-1]:#.3g}"
    here.find()
    boxes = [tuple(map(float, box)) for box in here.boxes()]
    for number, person in enumerate(cpm_port.predict(picture, boxes=boxes)):
        here.choose(number)
        np.testing.assert_allclose([row[:2] for row in here.table().values()], person.joints, atol=0.051)


def test_handles_move_and_resize_a_box_and_it_stays_in_the_picture(visit: Callable[..., Visit], picture: Path) -> None:
    here = visit()
    here.open(picture)
    here.box(40, 60, 140, 220)
    here.box(90, 140, 110, 150)  # inside: moves it
    np.testing.assert_allclose(here.boxes(), [[60, 70, 100, 160]], atol=1)
    here.box(160, 230, 190, 250)  # the lower right corner
    np.testing.assert_allclose(here.boxes(), [[60, 70, 130, 180]], atol=1)
    here.box(60, 160, 30, 160)  # the left edge
    np.testing.assert_allclose(here.boxes(), [[30, 70, 160, 180]], atol=1)
    here.box(110, 160, -300, -300)
    assert here.boxes()[0][:2] == [0, 0]
    here.page.click(".box .remove")
    assert here.boxes() == []
    here.box(40, 60, 42, 62)  # a slip is no box
    assert here.boxes() == []


def test_a_finger_scrolls_and_adds_boxes_by_the_button(browser: Any, server: Client, picture: Path) -> None:
    here = Visit(browser, server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = here.ready()
    page.locator(".frame").first.tap()
    assert here.boxes() == []
    page.tap("#add-box")
    assert here.boxes() == [[146, 65, 194, 518]]
    assert here.said == []
    here.context.close()


def test_everything_goes_by_keyboard(visit: Callable[..., Visit], picture: Path) -> None:
    here = visit()
    here.open(picture)
    page = here.page
    page.focus("#add-box")
    page.keyboard.press("Enter")
    (before,) = here.boxes()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    step = max(1, round(max(drawn().shape) / 100))
    (after,) = here.boxes()
    assert after == [before[0] - step, before[1] + step, before[2] + step, before[3]]
    page.focus("#add-box")
    page.keyboard.press("Space")
    page.keyboard.press("Delete")
    assert len(here.boxes()) == 1
    assert page.evaluate("document.activeElement.id") == "add-box"
    page.focus("#find")
    page.keyboard.press("Enter")
    page.wait_for_selector("#found:not([hidden])")
    page.focus("#parts [aria-checked=true]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel") == "neck"
    assert page.evaluate("document.activeElement.ariaChecked") == "true"
    page.focus("#stage")
    page.keyboard.press("ArrowLeft")
    assert here.text("#stage-text") == "stage 1 of 2"
    page.focus("#scale")
    page.keyboard.press("Home")
    assert here.text("#scale-text").startswith("0.7 of the base")


# What is shown.


@pytest.fixture(scope="module")
def shared_visit(browser: Any, server: Client, picture: Path) -> Iterator[Visit]:
    """The default model's joints in one box."""
    here = Visit(browser, server.url, viewport={"width": 1280, "height": 900})
    here.ready()
    chosen(here, "default").open(picture)
    here.box(20, 10, 200, 280)
    here.find()
    yield here
    here.context.close()


@pytest.fixture
def looked(shared_visit: Visit) -> Iterator[Visit]:
    """The same, everything shown as it is at first."""
    here = shared_visit
    for name, value in (("least", 0.1), ("stage", 99), ("scale", 99)):
        here.slide(name, value)
    for name, on in (("joints", True), ("maps", True), ("box", False), ("center", False)):
        here.page.set_checked(f"#show-{name}", on)
    here.page.locator("#parts button").first.click()
    yield here
    assert here.said == []


def person_of(here: Visit, picture: Path) -> Any:
    (box,) = [tuple(map(float, box)) for box in here.boxes()]
    return cpm_port.predict(picture, boxes=[box])[0]


def test_a_joint_tells_its_name_and_score(looked: Visit, picture: Path) -> None:
    person = person_of(looked, picture)
    neck = person.part_order.index("neck")
    looked.page.mouse.move(*looked.at(*(person.joints[neck] + 0.5)))
    looked.page.wait_for_selector("#tip:not([hidden])")
    assert looked.text("#tip") == f"neck · {person.scores[neck]:.2f}"


def test_the_least_score_hides_joints_and_their_limbs(looked: Visit, picture: Path) -> None:
    person = person_of(looked, picture)
    for least in (0.0, float(np.median(person.scores)), 1.0):
        looked.slide("least", round(least, 2))
        shown = person.scores >= round(least, 2)
        order = person.part_order
        limbs = [shown[order.index(a)] and shown[order.index(b)] for a, b in order.limbs]
        assert looked.page.locator("circle.joint").count() == shown.sum()
        assert looked.page.locator("line.limb").count() == sum(limbs)


def test_the_maps_peak_is_the_joint_and_every_stage_has_its_own(looked: Visit, picture: Path) -> None:
    person = person_of(looked, picture)
    surest = int(person.scores.argmax())
    looked.page.locator(f"#parts [data-part='{surest}']").click()
    stages = int(looked.page.get_attribute("#stage", "max")) + 1
    heats = []
    for stage in range(stages):
        looked.slide("stage", stage)
        assert looked.text("#stage-text") == f"stage {stage + 1} of {stages}"
        heats.append(looked.heat())
    for one, other in pairwise(heats):
        assert np.abs(one - other).max() > 0
    rows, columns = np.nonzero(heats[-1] >= heats[-1].max() - 1)
    zoom = heats[-1].shape[1] / drawn().shape[1]
    peak = np.array([columns.mean(), rows.mean()]) / zoom
    assert np.abs(peak - person.joints[surest]).max() <= 4  # px of a map that is shown at about every second one


def test_every_map_is_the_nets(looked: Visit, tmp_path: Path) -> None:
    """Oracle: the maps to take away."""
    with looked.page.expect_download() as download:
        looked.page.click("[data-kind=npz]")
    download.value.save_as(tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as arrays:
        maps, merged, parts = arrays["person_1_maps"], arrays["person_1_merged"], arrays["parts"]
    stages, levels = maps.shape[:2]
    for stage, level, part in (
        (0, 0, 1), (stages - 1, levels - 1, 3), (0, levels, len(parts) - 1), (stages - 1, levels, 0)
    ):  # fmt: skip
        values = maps[stage, level, part] if level < levels else merged[stage, :, :, part] / levels
        got = looked.page.evaluate(
            """async ([where, stages, parts, person, stage, level, part]) => {
              const { Maps } = await import("/page/maps.js");
              const buffer = await (await fetch(where)).arrayBuffer();
              return [...new Maps(buffer, person, stages, parts).of(stage, level, part).values];
            }""",
            [
                next(url for url in looked.asked if "/maps/" in url), stages, len(parts) - 1,
                {"multipliers": [1] * levels, "cells": maps.shape[3:], "grid": merged.shape[1:3],
                 "grid_box": [0, 0, 1, 1], "boxes": [[0, 0, 1, 1]] * levels},
                stage, level, part,
            ],
        )  # fmt: skip
        np.testing.assert_allclose(got, np.clip(values, 0, 1).ravel() * 255, atol=0.51)


def test_the_stages_play(looked: Visit) -> None:
    stages = int(looked.page.get_attribute("#stage", "max")) + 1
    looked.page.click("#play")
    looked.until("document.getElementById('stage-text').textContent.startsWith('stage 1 ')")
    looked.until(f"document.getElementById('stage-text').textContent.startsWith('stage {stages} ')")
    looked.page.wait_for_selector("#play[aria-pressed=false]")


def test_the_scale_slider_goes_through_the_pyramid_to_the_sum(looked: Visit, picture: Path) -> None:
    search = person_of(looked, picture).prediction.search
    texts, heats = [], []
    for level in range(len(search.multipliers) + 1):
        looked.slide("scale", level)
        texts.append(looked.text("#scale-text"))
        heats.append(looked.heat())
    assert texts[-1] == f"merged: the sum of {len(search.multipliers)}"
    for text, multiplier, scale in zip(texts, search.multipliers, search.scales, strict=False):
        assert text == f"{multiplier:.1f} of the base: {scale:#.3g}"
    assert all(np.abs(one - other).max() > 0 for one, other in pairwise(heats))


def test_there_is_a_thumbnail_for_every_part_and_the_background(looked: Visit, picture: Path) -> None:
    parts = person_of(looked, picture).part_order.parts
    named = looked.page.eval_on_selector_all("#parts button", "all => all.map(one => one.ariaLabel)")
    assert named == ["all parts", *(part.replace("_", " ") for part in parts), "background"]
    looked.page.locator("#parts button").nth(-1).click()
    assert looked.heat().min() > 0  # the background is everywhere


def test_the_nets_box_and_the_center_map_can_be_shown(looked: Visit, picture: Path) -> None:
    search = person_of(looked, picture).prediction.search
    levels = len(search.multipliers)
    looked.page.check("#show-box")
    assert looked.page.locator("rect.net-box").count() == levels
    looked.slide("scale", 0)
    (width,) = looked.page.eval_on_selector_all(
        "rect.net-box", "all => all.map(one => Number(one.getAttribute('width')))"
    )
    assert width == pytest.approx(cpm_port.load_model().box_size / search.scales[0])
    looked.page.check("#show-center")
    circle = looked.page.locator("circle.center-map").first
    assert float(circle.get_attribute("cx")) == pytest.approx(search.center_xy[0], abs=2)
    for switch, drawing in (("joints", "circle.joint"), ("box", "rect.net-box"), ("center", "circle.center-map")):
        looked.page.uncheck(f"#show-{switch}")
        assert looked.page.locator(drawing).count() == 0
    looked.page.uncheck("#show-maps")
    assert looked.heat().max() == 0


def test_two_models_stand_side_by_side_with_the_distance_of_every_joint(
    visit: Callable[..., Visit], picture: Path, choice: Choice
) -> None:
    here = chosen(visit(), TINY)
    here.page.select_option("#second", "default")
    here.open(picture)
    here.box(20, 10, 200, 280)
    here.find()
    assert here.page.locator(".view:visible").count() == 2
    (box,) = [tuple(map(float, box)) for box in here.boxes()]
    one = cpm_port.load_model(net=choice.net, weights=choice.weights)(picture, boxes=[box])[0][0]
    other = cpm_port.predict(picture, boxes=[box])[0]
    apart = np.hypot(*(one.joints - other.joints).T)
    np.testing.assert_allclose([row[3] for row in here.table().values()], apart, atol=0.051)
    assert "stage 3 of 3" in here.text("#stage-text") or cpm_port.load_model().interface.stages.keys() != {1, 2, 3}
    here.page.select_option("#second", "")
    here.find()
    assert here.page.locator(".view:visible").count() == 1


def test_files_are_taken_away(looked: Visit, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(picture.parent)
    (box,) = [tuple(map(float, box)) for box in looked.boxes()]
    wanted = cpm_port.predict(picture.name, boxes=[box])
    got = {}
    for kind in ("json", "coco", "openpose", "png", "npz"):
        with looked.page.expect_download() as download:
            looked.page.click(f"[data-kind={kind}]")
        got[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(got[kind])
    assert [path.name for path in got.values()] == [
        "person.json", "person_coco.json", "person_keypoints.json", "person_joints.png", "person_maps.npz"
    ]  # fmt: skip
    told, known = json.loads(got["json"].read_text()), wanted.to_dict()
    assert [(j["name"], j["x"], j["y"]) for j in told["joints"]] == [
        (j["name"], j["x"], j["y"]) for j in known["joints"]
    ]
    assert told.keys() == known.keys()
    assert told["model"] == known["model"]
    assert [row["bbox"] for row in json.loads(got["coco"].read_text())] == [row["bbox"] for row in wanted.to_coco()]
    assert len(json.loads(got["openpose"].read_text())["people"]) == 1
    np.testing.assert_array_equal(cv2.imread(str(got["png"])), wanted.draw(0.1))
    with np.load(got["npz"]) as arrays:
        np.testing.assert_array_equal(arrays["person_1_joints"], wanted[0].joints)


# Work in progress, and what goes wrong.


def test_work_in_progress_is_told_and_can_be_cancelled(
    visit: Callable[..., Visit], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waits = app_module.look_for, [True]

    def slow(*arguments: Any, before: Any, say: Any, **more: Any) -> Any:
        say("Looking at nothing, for long")
        while waits[0]:
            before(1)
        return real(*arguments, before=before, say=say, **more)

    monkeypatch.setattr(app_module, "look_for", slow)
    here = visit()
    here.open(picture)
    here.page.click("#find")
    here.page.wait_for_selector("#status:has-text('Looking at nothing, for long…')")
    assert here.page.evaluate("document.getElementById('bar').value") > 0
    here.page.click("#cancel")
    here.page.wait_for_selector("#status:has-text('Cancelled.')")
    assert here.page.is_hidden("#progress")
    waits[0] = False
    here.find()


def test_an_error_is_a_sentence_with_what_to_do(visit: Callable[..., Visit], picture: Path, tmp_path: Path) -> None:
    here = visit()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(cv2.imencode(".jpg", drawn())[1].tobytes()[:-300])
    here.page.set_input_files("#file", str(cut))
    here.page.wait_for_selector("#error:not([hidden])")
    assert here.text("#error") == (
        "cut.jpg: the JPEG ends before its end marker. Take another picture, or save this one again as JPEG or PNG."
    )
    assert "example.png" in here.text("figcaption >> nth=0")  # what was there stays
    here.said = [text for text in here.said if "status of 400" not in text]  # which the browser says by itself


def test_a_picture_that_is_too_large_is_not_even_sent(visit: Callable[..., Visit], tmp_path: Path) -> None:
    here = visit()
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate((32 << 20) + 1)
    here.page.set_input_files("#file", str(large))
    here.page.wait_for_selector("#error:not([hidden])")
    assert here.text("#error") == "large.png is larger than 32 MiB. Make the picture smaller, and open it again."


def test_a_server_that_is_gone_is_told(browser: Any, choice: Choice) -> None:
    with serving(choice) as client:
        here = Visit(browser, client.url)
        here.ready()
    here.page.click("#find")
    here.page.wait_for_selector("#error:not([hidden])")
    assert here.text("#error").startswith("The server does not answer. Look whether `cpm-port serve` still runs")
    here.context.close()


def test_a_tab_that_closes_leaves_no_picture_behind(browser: Any, choice: Choice) -> None:
    with serving(choice) as client:
        here = Visit(browser, client.url)
        here.ready()
        key = next(url.rpartition("/")[2] for url in here.asked if "/api/pictures/" in url)
        assert client.ask(f"/api/pictures/{key}")[0] == 200
        here.page.close(run_before_unload=False)
        here.context.close()
        while client.ask(f"/api/pictures/{key}")[0] == 200:
            pass


def test_a_token_is_taken_from_the_address_or_asked_for(browser: Any, choice: Choice) -> None:
    token = "a token that is long enough"
    with serving(choice, token=token) as client:
        here = Visit(browser, f"{client.url}/#token={token.replace(' ', '%20')}")
        here.ready()
        assert here.page.url == f"{client.url}/"  # so that nobody reads it there
        assert not [url for url in here.asked if "token" in url.split("#")[0]]
        assert here.said == []
        here.context.close()
        asked = Visit(browser, client.url)
        asked.page.wait_for_selector("#token-window[open]")
        asked.page.fill("#token", token)
        asked.page.click("#token-use")
        asked.ready()
        asked.context.close()


# For everybody.


NAMELESS = """() => [...document.querySelectorAll("button, input, select, [tabindex], [role=radio]")]
  .filter((one) => one.checkVisibility() && one.tagName !== "TR")
  .filter((one) => !one.ariaLabel && !one.textContent.trim())
  .filter((one) => ![...(one.labels ?? [])].some((label) => label.textContent.trim()))
  .map((one) => one.outerHTML.slice(0, 80))"""

CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const rgb = (text) => numbers(text).map((v, i) => (text.startsWith("color(srgb") && i < 3 ? v * 255 : v));
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const own = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((one) => own(one) && one.checkVisibility() && !one.closest("script, :disabled, [aria-disabled=true]"))
    .map((one) => {
      const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.textContent.slice(0, 30)];
    })
    .filter(([contrast]) => contrast < 4.5);
}"""


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("width", [1280, 390])
def test_it_reads_well(light: str, width: int, visit: Callable[..., Visit]) -> None:
    """Names for screen readers, contrast of 4.5 (WCAG AA), nothing beyond the window's side."""
    here = chosen(visit(viewport={"width": width, "height": 844}, color_scheme=light), TINY)
    here.page.click("#add-box")
    here.find()
    here.page.mouse.move(2, 2)
    assert here.page.evaluate(NAMELESS) == []
    assert here.page.evaluate(CONTRAST) == []
    assert here.page.evaluate("document.documentElement.scrollWidth") <= width
    assert here.page.evaluate("document.documentElement.lang") == "en"
    paper = here.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(paper) > 200) == (light == "light")


def test_the_picture_tells_a_screen_reader_what_was_found(looked: Visit) -> None:
    assert looked.page.locator(".frame img").first.get_attribute("alt") == (
        "person.png: 1 person, found by the model default"
    )
    assert looked.page.locator("#status").get_attribute("role") == "status"
    assert looked.page.locator("#error").get_attribute("role") == "alert"
    assert looked.page.locator("#stage").get_attribute("aria-valuetext") == looked.text("#stage-text")
