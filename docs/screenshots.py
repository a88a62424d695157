"""The pictures of the page that `cpm-port serve` shows: `python docs/screenshots.py`, with Chromium and Playwright.

Six of them, light and dark, for a laptop (1280 px) and a phone (390 px), of drawn people and the default model. To be
looked at after every change to the page or the model.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "pictures"
LAPTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
PATIENCE_MS = 600_000
QUALITY = 86


def main() -> None:
    """Start the server, take the pictures, end it."""
    command = [sys.executable, "-m", "cpm_port", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        assert server.stdout is not None
        address = server.stdout.readline().split()[2]
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            take(chromium, address)
        finally:
            chromium.close()
            server.terminate()


def take(chromium: Any, address: str) -> None:
    """Take all pictures."""
    boxed = visit(chromium, address, LAPTOP, "light")
    drag(boxed, (52, 112, 172, 408))
    drag(boxed, (328, 568, 178, 180))
    save(boxed, "page_boxes_1280_light.jpg")
    for light in ("light", "dark"):
        laptop = visit(chromium, address, LAPTOP, light)
        find(laptop)
        choose(laptop, 2)
        save(laptop, f"page_found_1280_{light}.jpg")
        if light == "dark":
            choose(laptop, 1)
            laptop.check("#show-box")
            laptop.check("#show-center")
            laptop.locator("#parts button[aria-label='neck']").click()
            slide(laptop, "stage", 0)
            slide(laptop, "scale", 3)
            laptop.set_viewport_size({**LAPTOP, "height": 1000})
            save(laptop, "page_stage_1_1280_dark.jpg")
        laptop.set_viewport_size(PHONE)
        save(laptop, f"page_found_390_{light}.jpg", "#maps" if light == "dark" else "body")


def visit(chromium: Any, address: str, size: Any, light: str) -> Any:
    """Open the page; it shows the example."""
    page = chromium.new_context(viewport=size, color_scheme=light).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector("#find:not([disabled])")
    return page


def find(page: Any) -> None:
    """Look for people, and wait for them."""
    page.click("#find")
    page.wait_for_selector("#found:not([hidden])")
    page.wait_for_selector("#progress", state="hidden")


def choose(page: Any, person: int) -> None:
    """Choose a person, and wait for their maps."""
    page.click(f"#people button:nth-child({person})")
    page.wait_for_selector(f"#people button:nth-child({person})[aria-checked=true]")


def drag(page: Any, box: tuple[int, int, int, int]) -> None:
    """Drag a box over the example, px of the picture."""
    frame = page.locator(".frame").first.bounding_box()
    zoom = frame["width"] / page.evaluate("document.querySelector('.frame img').naturalWidth")
    x1, y1, x2, y2 = (value * zoom for value in box)
    page.mouse.move(frame["x"] + x1, frame["y"] + y1)
    page.mouse.down()
    page.mouse.move(frame["x"] + x2, frame["y"] + y2, steps=3)
    page.mouse.up()


def slide(page: Any, name: str, value: int) -> None:
    """Move a slider."""
    page.eval_on_selector(f"#{name}", "(s, v) => { s.value = v; s.dispatchEvent(new Event('input')); }", value)


def save(page: Any, name: str, top: str = "body") -> None:
    """Write what the window shows, scrolled to an element."""
    page.evaluate("selector => document.querySelector(selector).scrollIntoView({block: 'start'})", top)
    page.mouse.move(2, 2)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(PICTURES / name, quality=QUALITY, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
