"""The report in headless Chromium, without a network."""

import shutil
import subprocess
import sys

import pytest

from jaxalign.report import write_report

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()

# In a process of its own, since a browser that the machine does not let run may hang instead of failing.
TRIAL = f"""
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path={CHROMIUM!r}, args={OPTIONS})
    browser.new_page().goto("about:blank")
    browser.close()
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


@pytest.fixture(scope="module")
def browser():
    try:
        # No pipes: what the browser leaves behind could hold their other end.
        nowhere = subprocess.DEVNULL
        subprocess.run([sys.executable, "-c", TRIAL], timeout=90, check=True, stdout=nowhere, stderr=nowhere)
    except subprocess.SubprocessError as error:
        pytest.skip(f"chromium opens no page here: {error}")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(solved, digits, tmp_path_factory):
    """The report of each sweep, written once: it takes seconds to draw."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {name: folder / f"{name}.html" for name in ("solved", "digits")}
    for dataset, path in zip((solved, digits), paths.values(), strict=True):
        write_report(dataset, path)
    return paths


@pytest.fixture(params=["solved", "digits"])
def opened(request, browser, reports):
    """A page of the report, and what went wrong while it was opened."""
    path = reports[request.param]
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda failed: wrong.append(failed.url))
    page.on("request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
    page.goto(path.as_uri())
    yield page, wrong
    context.close()


def test_the_page_is_whole(opened):
    page, wrong = opened
    assert page.title().endswith("alignment under noise") and page.locator("h1").inner_text() == page.title()
    images = page.locator("figure img")
    assert images.count() >= 4
    for i in range(images.count()):
        image = images.nth(i)
        assert image.evaluate("image => image.complete && image.naturalWidth * image.naturalHeight") > 0
        box = image.bounding_box()
        assert image.is_visible() and box["width"] > 250 and box["height"] > 150
    assert wrong == []


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_never_wider_than_the_window(opened, width):
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_tables_scroll_and_details_open(opened):
    page, wrong = opened
    page.set_viewport_size({"width": 400, "height": 800})
    results = page.locator("#results .scroll").first
    assert results.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX == 'auto'")
    listing = page.locator("details pre")
    assert not listing.is_visible()
    page.locator("details summary").click()
    assert listing.is_visible() and '"type": "SweepConfig"' in listing.inner_text()
    assert wrong == []


def test_all_of_a_table_is_printed(opened):
    page, _ = opened
    page.emulate_media(media="print")
    # A4 less its margins, at 96 dots per inch.
    page.set_viewport_size({"width": 680, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    results = page.locator("#results .scroll").first
    assert results.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
    assert not page.locator("nav").is_visible()
