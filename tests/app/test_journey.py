"""A user's way through the app in a real browser, and what the server lets in."""

from __future__ import annotations

import re
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest
from browser import SCREENSHOTS, WAIT, choose, plot, serve, settle
from playwright.sync_api import Page, expect

from statescope import Model, ModelConfig
from statescope.probe.results.interactive import NAMED

pytestmark = pytest.mark.browser

EYE = "(eye => [eye.x, eye.y, eye.z])(plot._fullLayout.scene._scene.getCamera().eye)"  # as it is drawn
TEXTS = ".gtitle, .annotation-text, .xtick text, .ytick text"
NARROW = ("live_transitions?run=parity&transitions=what+the+family+allows", "live_transitions?run=parity", "live_lens?run=parity")
PLACE = "map(text => text.getBoundingClientRect()).map(box => [box.left, box.right, box.top, box.bottom])"


def test_a_layer_is_chosen_and_stands_in_the_address(page: Page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/transitions?run=source")
    settle(page)
    before = plot(page, "JSON.stringify(plot.data)")
    choose(page, "layer", "1")
    page.wait_for_url("**layer=1**", timeout=WAIT)
    assert "run=source" in page.url
    page.wait_for_function(
        "old => JSON.stringify(document.querySelector('.js-plotly-plot').data) !== old", arg=before, timeout=WAIT
    )
    expect(page.get_by_text("layer 1:")).to_be_visible()
    expect(page.get_by_text("layer 0:")).to_have_count(0)
    linked = plot(page, "JSON.stringify(plot.data)")
    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{port}/transitions?run=source&layer=1")
    settle(page)
    assert plot(page, "JSON.stringify(plot.data)") == linked
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "transitions.png", full_page=True)


def test_what_is_chosen_on_one_page_is_chosen_on_the_next(page: Page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/transitions?run=source&layer=1&head=1")
    settle(page)
    page.get_by_role("link", name="State over time").click()
    page.wait_for_url("**/states?**", timeout=WAIT)
    settle(page)
    for label in ("layer", "head"):
        expect(page.get_by_role("combobox", name=label)).to_have_value("1", timeout=WAIT)


def test_the_camera_stays_while_tokens_are_walked(page: Page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/states?run=source&view=space")
    settle(page)
    at_first = plot(page, EYE)
    scene = page.locator(".js-plotly-plot").first
    for _ in range(15):  # the scene may not listen yet, and what stands above it may still grow
        scene.scroll_into_view_if_needed()
        box = scene.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 120, middle[1] + 40, steps=8)
        page.mouse.up()
        page.wait_for_timeout(1000)
        turned = plot(page, EYE)
        if turned != pytest.approx(at_first, abs=1e-2):
            break
    assert turned != pytest.approx(at_first, abs=1e-2)
    marked = plot(page, "JSON.stringify(plot.data[1].x)")
    page.get_by_role("button", name="token 7:").click()
    page.wait_for_url("**position=7**", timeout=WAIT)
    page.wait_for_function(
        "old => JSON.stringify(document.querySelector('.js-plotly-plot').data[1].x) !== old", arg=marked, timeout=WAIT
    )
    page.wait_for_timeout(600)
    assert plot(page, EYE) == pytest.approx(turned, abs=1e-3)
    page.screenshot(path=SCREENSHOTS / "states.png", full_page=True)


SHOWN = "document.querySelector('.chart')?.getAttribute('aria-label')"


def stepped_to(page: Page, position: int) -> None:
    """Until the matrix of the state after this token is drawn."""
    page.wait_for_function(f"{SHOWN}?.includes('After token {position} ')", timeout=2 * WAIT)


def test_a_text_is_typed_and_its_state_walked_by_keys_and_by_play(page: Page, tmp_path: Path) -> None:
    """A model in a folder, with no run at all."""
    Model(ModelConfig(256, width=16, layers=1, mixer="gated_delta_net")).save(tmp_path / "models" / "small")
    with serve(tmp_path / "none", tmp_path / "models") as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_url("**/live_state**", timeout=2 * WAIT)
        box = page.get_by_role("textbox", name="text")
        box.wait_for(timeout=3 * WAIT)  # what runs models is imported meanwhile
        settle(page)
        box.fill("some <b>text</b>")
        box.press("Control+Enter")
        page.wait_for_url("**text=some**", timeout=WAIT)
        stepped_to(page, 15)
        choose(page, "below", "path in space")
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length > 1", timeout=WAIT)
        settle(page)
        page.locator(".strip").focus()
        page.keyboard.press("ArrowLeft")
        stepped_to(page, 14)
        page.keyboard.press("Home")
        stepped_to(page, 0)
        page.wait_for_url("**position=0**", timeout=WAIT)
        page.get_by_role("button", name="play or pause").click()
        played = f"Number({SHOWN}?.match(/After token ([0-9]+) /)?.[1]) >= 3"  # a slow machine draws not every token
        page.wait_for_function(played, timeout=2 * WAIT)
        page.locator(".strip").focus()
        page.keyboard.press("Space")
        assert page.locator("b").get_by_text("text", exact=True).count() == 0, "tokens are text"
        page.screenshot(path=SCREENSHOTS / "live_state.png", full_page=True)


def test_two_browsers_on_one_run_do_not_change_each_other(page: Page, port: int) -> None:
    assert page.context.browser is not None
    other = page.context.browser.new_page()
    try:
        for each in (page, other):
            each.goto(f"http://127.0.0.1:{port}/transitions?run=source")
            settle(each)
        before = plot(other, "plot.data[0].x.length")
        choose(page, "layer", "1")
        expect(page).to_have_url(re.compile("layer=1"), timeout=WAIT)
        settle(page)
        assert "layer" not in other.url and plot(other, "plot.data[0].x.length") == before
        choose(other, "head", "0")
        expect(other).to_have_url(re.compile("head=0"), timeout=WAIT)
        assert "head" not in page.url
    finally:
        other.close()


def test_panels_stand_below_each_other_on_a_narrow_screen(page: Page, port: int) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    try:
        page.goto(f"http://127.0.0.1:{port}/transitions?run=parity")
        settle(page)
        above = plot(page, "[plot._fullLayout.yaxis.domain[0], plot._fullLayout.yaxis2.domain[1]]")
        assert above[0] > above[1], "the first panel, and below it the second"
        assert plot(page, "plot._fullLayout.xaxis.domain") == plot(page, "plot._fullLayout.xaxis2.domain")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, "nothing is wider than the screen"
        page.goto(f"http://127.0.0.1:{port}/probes?run=source")
        settle(page)
        room = plot(page, "plot._fullLayout.xaxis._length / plot.clientWidth")
        assert room > 0.4, "names leave the numbers a good part of the width"
        page.goto(f"http://127.0.0.1:{port}/live_state?run=parity")
        settle(page)
        bar, panel = plot(page, "[plot.data[0].colorbar.len * plot._fullLayout._size.h, plot._fullLayout.yaxis._length]")
        assert bar == pytest.approx(panel, abs=2), "a colour bar that panels share is as long as the one that it stands beside"
        for name in NARROW:
            page.goto(f"http://127.0.0.1:{port}/{name}")
            settle(page)
            [(left, right, *_)] = plot(page, f"[plot].{PLACE}")
            for begin, end, *_ in plot(page, f"[...plot.querySelectorAll('{TEXTS}')].{PLACE}"):
                assert left - 1 <= begin and end <= right + 1, f"{name}: a title or a name ends at the edge of the chart"
            rows = sorted(box[2:] for box in plot(page, f"[...plot.querySelector('.yaxislayer-above').children].{PLACE}"))
            assert all(above[1] <= below[0] + 3 for above, below in pairwise(rows)), f"{name}: a name lies on another"
    finally:
        page.set_viewport_size({"width": 1280, "height": 1000})


NAMES = "[plot.data[0].meta.columns, plot.data[0].meta.rows, plot.layout.xaxis.ticktext, plot.layout.yaxis.ticktext]"
TITLED = ".xtitle, .ytitle, .xtick text, .ytick text"


def test_titles_of_axes_and_names_of_bars_have_room_on_a_narrow_screen(page: Page, port: int) -> None:
    """A title was cut at the edges of the chart, and the names of twelve bars lay on each other."""
    page.set_viewport_size({"width": 390, "height": 900})
    try:
        for name, which in (("live_steering?run=source", 0), ("live_steering?run=source", 1), ("probes?run=source", 1)):
            page.goto(f"http://127.0.0.1:{port}/{name}")
            settle(page)
            [(left, right, top, bottom)] = plot(page, f"[plot].{PLACE}", which)
            for begin, end, high, low in plot(page, f"[...plot.querySelectorAll('{TITLED}')].{PLACE}", which):
                assert left - 1 <= begin and end <= right + 1 and top - 1 <= high and low <= bottom + 1, f"{name}: one is cut"
        page.goto(f"http://127.0.0.1:{port}/live_steering?run=source")
        settle(page)
        bars = sorted(plot(page, f"[...plot.querySelectorAll('.xtick text')].{PLACE}"))
        assert len(bars) > 8 and all(one[1] <= other[0] + 3 for one, other in pairwise(bars))
        page.goto(f"http://127.0.0.1:{port}/live_transitions?run=source")
        settle(page)
        empty = "[data-testid=stColumn]:not(:has([data-testid=stElementContainer]))"
        assert page.locator(empty).count() and not page.locator(empty).filter(visible=True).count(), "no gaps for empty columns"
    finally:
        page.set_viewport_size({"width": 1280, "height": 1000})


UNTOLD = "Not every name has room here: point at a cell, or touch it, to read its own."


def test_every_name_of_a_map_is_read_on_a_narrow_screen(page: Page, port: int) -> None:
    """A few stand along its axes, all of them; of many each second or third, and a sentence says how the others are read."""
    page.set_viewport_size({"width": 390, "height": 900})
    try:
        page.goto(f"http://127.0.0.1:{port}/live_attention?run=source&text=def+f(a):+x")
        settle(page)
        columns, rows, across, down = plot(page, NAMES)
        assert across == columns and down == rows and len(rows) == 11
        for where in (".xaxislayer-above .xtick text", ".yaxislayer-above .ytick text"):
            boxes = sorted(plot(page, f"[...plot.querySelectorAll('{where}')].{PLACE}"))
            at = slice(0, 2) if "xtick" in where else slice(2, 4)
            assert all(one[at][1] <= other[at][0] + 3 for one, other in pairwise(sorted(boxes, key=lambda box: box[at])))
        expect(page.get_by_text(UNTOLD).filter(visible=True)).to_have_count(0)
        page.goto(f"http://127.0.0.1:{port}/live_attention?run=source&text={'abcdefghij' * 6}")
        settle(page)
        columns, rows, across, down = plot(page, NAMES)
        assert len(rows) == 60 and 8 < len(across) < 60 and 8 < len(down) < 60 and set(across) | set(down) <= set(rows)
        expect(page.get_by_text(UNTOLD)).to_be_visible()
        assert plot(page, "[plot.data[0].text[7][3], plot.data[0].hovertemplate]") == ["7: h, 3: d", NAMED]
        page.goto(f"http://127.0.0.1:{port}/live_state?run=source")
        settle(page)
        expect(page.get_by_text(UNTOLD).filter(visible=True)).to_have_count(0)  # numbers from 0 on say themselves
    finally:
        page.set_viewport_size({"width": 1280, "height": 1000})


def test_pages_keep_the_run_and_the_browser_goes_back(page: Page, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/?run=parity")
    page.wait_for_url("**/overview?**run=parity**", timeout=WAIT)
    page.goto(page.url)  # as one that was sent to somebody
    settle(page)
    expect(page.get_by_text("What was found")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    page.get_by_role("link", name="Probes").click()
    page.wait_for_url("**/probes?**run=parity**", timeout=WAIT)
    choose(page, "run", "source")
    page.wait_for_url("**run=source**", timeout=WAIT)
    expect(page.get_by_text("Survival at distance").first).to_be_visible(timeout=WAIT)
    page.go_back()
    page.wait_for_url("**run=parity**", timeout=WAIT)
    settle(page)
    expect(page.get_by_text("Survival at distance")).to_have_count(0)


def test_nothing_is_asked_of_another_machine(page: Page, port: int) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("", "states"):
        page.goto(f"http://127.0.0.1:{port}/{name}?run=parity")
        settle(page)
    page.wait_for_timeout(500)
    foreign = [
        url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/", "data:", "blob:"))
    ]
    assert asked and not foreign


def ask(port: int, path: str, host: str, origin: str | None, *, upgrade: bool) -> str:
    """The status line of a request with this Host and Origin."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *([f"Origin: {origin}"] if origin else [])]
    if upgrade:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall("\r\n".join([*lines, "", ""]).encode())
        return link.recv(1024).decode().splitlines()[0]


def test_it_listens_on_this_machine_only(port: int) -> None:
    listening = [line.split()[1] for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    own = [address for address in listening if address.endswith(f":{port:04X}")]
    assert {address.split(":")[0] for address in own} == {"0100007F"}, "another address than 127.0.0.1"


def test_the_page_and_its_connection_take_their_own_names_and_pages_only(port: int) -> None:
    here, stream = f"127.0.0.1:{port}", "/_stcore/stream"
    for host in (here, f"localhost:{port}", "localhost:9000"):  # the last: behind an SSH tunnel
        assert " 101 " in ask(port, stream, host, f"http://{host}", upgrade=True)
        assert " 200 " in ask(port, "/", host, None, upgrade=False)
    foreign = ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"localhost@evil.example:{port}", "")
    for host in foreign:  # a name that a stranger makes lead here
        assert " 403 " in ask(port, stream, host, f"http://{host}", upgrade=True)
        for path in ("/", "/plotly.min.js", "/_stcore/health", "/_stcore/host-config", "/media/x"):
            assert " 40" in ask(port, path, host, None, upgrade=False)
    pages = (
        "http://evil.example",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
        "http://127.0.0.1",
        "null",
        "file://",
    )
    for origin in (*pages, None):  # a stranger's page, or that of another program of this machine
        assert " 403 " in ask(port, stream, here, origin, upgrade=True), origin
    for origin in pages:
        assert " 403 " in ask(port, "/_stcore/health", here, origin, upgrade=False), origin


def test_a_foreign_name_gets_no_browser_page(page: Page, port: int) -> None:
    """DNS rebinding: the browser itself takes evil.localhost to this machine."""
    answer = page.goto(f"http://evil.localhost:{port}/")
    assert answer is not None and answer.status == 403
    assert "answers to" in page.content()


def test_the_smallest_study_starts_is_followed_and_cancelled(page: Page, tmp_path: Path) -> None:
    with serve(tmp_path) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        settle(page)
        expect(page.get_by_text("No runs yet")).to_be_visible()
        page.get_by_role("button", name="Run parity-small").click()
        bar = page.get_by_text("training")
        expect(bar.first).to_be_visible(timeout=2 * WAIT)
        page.reload()  # another visit follows the same run
        expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=WAIT)
        checkpoints = tmp_path / "parity-small" / "checkpoints"
        deadline = time.monotonic() + 60
        while not list(checkpoints.glob("*/step-*.safetensors")):
            assert time.monotonic() < deadline, "no checkpoint was written"
            page.wait_for_timeout(50)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("This run was interrupted")).to_be_visible(timeout=2 * WAIT)
        assert list(checkpoints.glob("*/step-*.safetensors"))
        page.screenshot(path=SCREENSHOTS / "interrupted.png", full_page=True)
