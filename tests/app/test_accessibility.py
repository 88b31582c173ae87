"""What keeps a reader out: axe-core on every page, and all of it by keys alone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browser import WAIT, settle
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGES = (
    "runs",
    "live_state",
    "transitions",
    "directions",
    "live_steering",
    "probes",
    "tangent",
    "training",
    "live_attention",
    "atlas",
)
PALE = "color-contrast"
LOOKS: tuple[tuple[str, int, dict[str, Any]], ...] = (  # the dark changes colours alone, and a narrow screen none
    ("light", 1280, {}),
    ("dark", 1280, {"runOnly": [PALE]}),
    ("dark", 390, {"rules": {PALE: {"enabled": False}}}),
)
OF_STREAMLIT = {  # a rule, and the part of Streamlit's own frame whose markup breaks it
    "list": "[data-testid=stSidebarNavItems]",  # its menu: sections stand in a list as headings and not as items
    "listitem": "[data-testid=stSidebarNavItems] li",  # and the links of a section as items outside of a list
}
FINDINGS = """
async ([own, rules]) => {
    const found = await axe.run(document, { resultTypes: ["violations"], ...rules });
    return found.violations.flatMap(rule => rule.nodes
        .filter(node => !(rule.id in own && document.querySelector(node.target[0])?.matches(own[rule.id])))
        .map(node => `${rule.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
}
"""


def findings(page: Page, address: str) -> list[str]:
    """What axe-core finds on a page, in the light, in the dark and on a narrow screen."""
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.emulate_media(color_scheme="light")
    page.goto(address)
    page.get_by_role("heading", level=2).first.wait_for(timeout=3 * WAIT)
    page.evaluate(AXE_SCRIPT)
    found = []
    for scheme, width, rules in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1000})
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        settle(page)
        found += [f"{address}, {scheme}, {width} px: {finding}" for finding in page.evaluate(FINDINGS, [OF_STREAMLIT, rules])]
    return found


def test_axe_finds_nothing_of_ours_on_any_page(page: Page, port: int) -> None:
    found = [finding for name in PAGES for finding in findings(page, f"http://127.0.0.1:{port}/{name}?run=source")]
    assert not found, "\n\n".join(found)


def test_axe_would_find_what_is_wrong(page: Page, port: int) -> None:
    """A picture without words, a pale text and a button without a name."""
    page.goto(f"http://127.0.0.1:{port}/runs?run=source")
    settle(page)
    page.evaluate(AXE_SCRIPT)
    wrong = "<img src='data:,'><p style='color: #eee; background: #fff'>pale</p><button></button>"
    page.evaluate("html => document.querySelector('[data-testid=stMain]').insertAdjacentHTML('beforeend', html)", wrong)
    found: Any = page.evaluate(FINDINGS, [OF_STREAMLIT, {}])
    assert {finding.partition(":")[0] for finding in found} >= {"image-alt", "color-contrast", "button-name"}


FOCUSED = """
() => {
    let at = document.activeElement;
    while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    const name = at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent;
    return [at.getAttribute("role") || at.tagName.toLowerCase(), name.trim()];
}
"""


def walk_to(page: Page, role: str, name: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until what has this role, and a name that ends so, has the focus, as one who has no mouse does."""
    settle(page)
    seen = []
    for _ in range(most):
        page.keyboard.press(key)
        seen.append(page.evaluate(FOCUSED))
        if seen[-1][0] == role and seen[-1][1].endswith(name):
            return
    pytest.fail(f"{most} times {key} lead not to the {role} {name!r}, but over {seen}")


def type_in(page: Page, option: str) -> None:
    """Choose an option of the select box that has the focus."""
    page.keyboard.press("ArrowDown")
    page.keyboard.type(option)
    expect(page.get_by_role("option")).to_have_text([option], timeout=WAIT)
    page.keyboard.press("Enter")


def test_a_figure_is_found_and_taken_along_by_keys_alone(page: Page, port: int) -> None:
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto(f"http://127.0.0.1:{port}/states?run=parity&model=negative&layer=0&head=0")
    page.locator(".strip").wait_for(timeout=3 * WAIT)
    walk_to(page, "combobox", "run")
    type_in(page, "source")
    page.wait_for_url("**run=source**", timeout=WAIT)
    page.locator(".strip").wait_for(timeout=WAIT)
    walk_to(page, "combobox", "layer")
    type_in(page, "1")
    page.wait_for_url("**layer=1**", timeout=WAIT)
    walk_to(page, "input", "token")
    at = int(page.evaluate("document.activeElement.value"))
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**position={at - 1}**", timeout=WAIT)
    page.get_by_text(f"token {at - 1} of 0 to").wait_for(timeout=WAIT)
    walk_to(page, "group", "tokens; arrow keys step, space plays")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**position={at - 2}**", timeout=WAIT)
    walk_to(page, "summary", "state trajectory")
    page.keyboard.press("Enter")
    walk_to(page, "button", "SVG")
    with page.expect_download(timeout=2 * WAIT) as saved:
        page.keyboard.press("Enter")
    assert saved.value.suggested_filename == "source-state_trajectory.svg"
    walk_to(page, "summary", "state trajectory", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="SVG")).to_have_count(0)
    walk_to(page, "a", "Probes", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/probes?**run=source**", timeout=WAIT)
