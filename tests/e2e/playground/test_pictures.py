"""The pictures of the documentation: `make screenshots` has them taken anew.

One of an experiment half-way, and one that moves: *killed after the commit*, from its button to the
verdict, in the time that it takes.
"""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page

from tests.e2e.extensions.page.browser import page_of
from tests.e2e.playground.playing import Playing
from tests.e2e.processes import ROOT, wait_until

FOLDER = ROOT / "docs" / "playground"
WIDTH, HEIGHT = 1320, 880
BEFORE = 5  # users, so that there is something to scroll
FRAME_SECONDS = 0.25
LAST_FRAME_SECONDS = 4.0
COLOURS = 64
MAX_BYTES = 600_000

pytestmark = pytest.mark.skipif(
    "ALLOCATION_SCREENSHOTS" not in os.environ, reason="nobody has asked for them"
)


def test_pictures_of_experiments_are_taken(play: Playing, browser: Browser) -> None:
    """They show what it is today."""
    FOLDER.mkdir(exist_ok=True)
    play.order("registrations", count=BEFORE)
    wait_until(lambda: play.state()["mail"]["count"] == 2 * BEFORE)
    with page_of(browser, play.url, token=play.token, width=WIDTH, height=HEIGHT) as page:
        write(list(frames(page)), FOLDER / "killed.gif")
        page.set_viewport_size({"width": 1440, "height": 960})
        half_way(page, FOLDER / "frozen.png")
    assert (FOLDER / "killed.gif").stat().st_size < MAX_BYTES


def frames(page: Page) -> Iterator[tuple[Image.Image, float]]:
    """Yield what is seen of the experiment, and for how many seconds."""
    page.locator("#experiment-killed summary").click()
    page.wait_for_timeout(1000)
    button = page.locator("#experiment-killed button.main")
    verdict = page.locator("#experiment-killed .verdict[data-state=kept]")
    yield picture(page), 1.5
    button.click()
    began = time.monotonic()
    while not verdict.count():
        taken = picture(page)
        page.wait_for_timeout(max(0, FRAME_SECONDS - (time.monotonic() - began)) * 1000)
        yield taken, time.monotonic() - began
        began = time.monotonic()
    page.wait_for_timeout(600)
    yield picture(page), LAST_FRAME_SECONDS


def picture(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def half_way(page: Page, file: Path) -> None:
    """Take a picture while the owner is frozen, and its lease nearly over."""
    page.locator("#experiment-frozen summary").click()
    page.locator("#experiment-frozen button.main").click()
    page.locator("#experiment-frozen .steps .now", has_text="lease").wait_for()
    page.wait_for_timeout(1500)
    page.evaluate("document.querySelector('#panel').scrollTo(0, 0)")
    picture(page).quantize(2 * COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def write(taken: list[tuple[Image.Image, float]], file: Path) -> None:
    """Write a picture that moves; frames that look the same are one."""
    images, seconds = [taken[0][0]], [taken[0][1]]
    for image, length in taken[1:]:
        if ImageChops.difference(image, images[-1]).getbbox():
            images.append(image)
            seconds.append(length)
        else:
            seconds[-1] += length
    both = Image.new("RGB", (WIDTH, 2 * HEIGHT))
    for number, image in enumerate((images[len(images) // 2], images[-1])):
        both.paste(image, (0, number * HEIGHT))
    palette = both.quantize(COLOURS, dither=Image.Dither.NONE)
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [round(length * 1000) for length in seconds]
    small[0].save(file, save_all=True, append_images=small[1:], duration=durations, loop=0)
