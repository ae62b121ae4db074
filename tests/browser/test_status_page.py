"""The status page as people meet it: in Chromium, in two languages, by keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.pages import Site, site, snapshot
from tests.processes import binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.chromium

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = binary("chromium", "chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def requests() -> list[str]:
    """The addresses that the page asked."""
    return []


@pytest.fixture
def page(browser: Browser, served: Site, requests: list[str]) -> Iterator[Page]:
    """The page in English on a desktop; an error in its console fails the test."""
    complaints: list[str] = []
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    shown = context.new_page()
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.goto(served.url)
    yield shown
    context.close()
    assert not complaints


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("fr-FR", ("fr", "Écluse : état de la passerelle", "Tout fonctionne")),
        ("en-GB", ("en", "Écluse: state of the gateway", "Everything works")),
        ("de-DE", ("en", "Écluse: state of the gateway", "Everything works")),
    ],
)
def test_it_speaks_the_browsers_language(
    browser: Browser, served: Site, locale: str, said: tuple[str, str, str]
) -> None:
    """French or English, English for others: its language, its title, its verdict."""
    context = browser.new_context(locale=locale)
    shown = context.new_page()
    shown.goto(served.url)
    lang = shown.locator("html").get_attribute("lang")
    assert (lang, shown.title(), shown.locator("#verdict strong").inner_text()) == said
    context.close()


@pytest.mark.parametrize("locale", ["fr-FR", "en-GB"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(browser: Browser, served: Site, locale: str, scheme: str, width: int) -> None:
    """No violation of WCAG 2.2 AA nor of best practice: both languages, both schemes, phone and desktop."""
    context = browser.new_context(
        locale=locale, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    shown = context.new_page()
    shown.goto(served.url)
    found = Axe().run(shown, options=WCAG)
    context.close()
    assert found.violations_count == 0, found.generate_report()


def test_axe_finds_nothing_when_something_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """The colours of trouble have contrast too; and the page says what the trouble is."""
    with site(tmp_path, now=snapshot(ready=False, missing=3)) as troubled:
        context = browser.new_context(locale="en-GB")
        shown = context.new_page()
        shown.goto(troubled.url)
        verdict = shown.locator("#verdict strong").inner_text()
        found = Axe().run(shown, options=WCAG)
        context.close()
    assert verdict == "Something needs attention: sink influx (down), Uplinks (does not balance)"
    assert found.violations_count == 0, found.generate_report()


def test_nothing_is_asked_outside_the_server(page: Page, served: Site, requests: list[str]) -> None:
    """No font, no script, no image of anybody else's."""
    page.wait_for_load_state("networkidle")
    assert len(requests) >= 3
    assert all(url.startswith(served.url + "/") for url in requests)


def test_the_skip_link_comes_first(page: Page) -> None:
    """One Tab shows it, Enter goes to the content."""
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the content"
    assert focused.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_updates_are_paused_by_keyboard(page: Page, served: Site) -> None:
    """Two Tabs and a space; then the page stays as it is until it is told to go on."""
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    button = page.locator("#live")
    assert button.inner_text() == "Resume updates"
    before, served.now = served.now, snapshot(missing=1)
    try:
        page.evaluate("refresh()")
        assert page.locator("#verdict strong").inner_text() == "Everything works"
        page.keyboard.press("Space")
        assert button.inner_text() == "Pause updates"
        page.evaluate("refresh()")
        trouble = "Something needs attention: Uplinks (does not balance)"
        assert page.locator("#verdict strong").inner_text() == trouble
        # A change of the verdict is told to those who do not see it.
        assert page.locator("[role=status]").inner_text() == trouble
    finally:
        served.now = before


def test_the_page_stays_while_the_keyboard_is_in_it(page: Page, served: Site) -> None:
    """A refresh would take the focus away."""
    page.locator("section form button").focus()
    before, served.now = served.now, snapshot(missing=1)
    try:
        page.evaluate("refresh()")
    finally:
        served.now = before
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    assert page.locator("#verdict strong").inner_text() == "Everything works"


def test_every_control_is_reached_by_tab_and_seen(page: Page) -> None:
    """All that can be operated or scrolled takes the focus in order, with an outline."""
    page.keyboard.press("Tab")
    seen: list[str] = []
    while (tag := page.evaluate("document.activeElement.tagName")) != "BODY" and len(seen) < 30:
        seen.append(tag)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")
    assert seen.count("BUTTON") == 2
    assert seen.count("PRE") == 2
    assert seen.count("DIV") == 3  # the tables that may be wider than the screen


def test_the_store_is_paused_by_keyboard(page: Page, served: Site) -> None:
    """The form comes back to the page: the browser's own headers pass the guard."""
    served.paused.clear()
    page.locator("section form button").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert served.paused == [("embedded", 20.0)]
    assert page.url == served.url + "/"


def test_a_phone_scrolls_one_way(browser: Browser, served: Site) -> None:
    """At 360 pixels only wide tables move sideways, within their own frame, under the devices' names."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, locale="fr-FR")
    shown = context.new_page()
    shown.goto(served.url)
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    values = shown.locator('[aria-labelledby="family-waste"]')
    values.evaluate("box => { box.scrollLeft = 400; }")
    name = values.locator("tbody th").first.bounding_box()
    assert name is not None
    assert name["x"] >= 0
    context.close()


def test_without_script_the_page_is_whole(browser: Browser, served: Site) -> None:
    """Only the button that pauses updates is not there."""
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    shown = context.new_page()
    shown.goto(served.url)
    assert shown.locator("#live").is_hidden()
    assert shown.locator("table").count() == 8
    context.close()


def test_a_sparkline_is_described(page: Page) -> None:
    """For those who do not see it."""
    label = page.locator("svg.spark").first.get_attribute("aria-label")
    assert label == "filling_level: from 0 to 89.7, lowest 0, highest 89.7"
