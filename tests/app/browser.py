"""The app as a user's browser sees it: what serves it, and what one does on its pages."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000  # milliseconds


@contextmanager
def serve(folder: Path, *models: Path) -> Iterator[int]:
    """`statescope app` over a folder of runs and models, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "statescope", "app", *map(str, models)]
    command += ["--folder", str(folder), "--port", str(port), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < deadline, server.stdout.read()
                    time.sleep(0.2)
            yield port
        finally:
            server.terminate()
            server.wait(20)


def settle(page: Page) -> None:
    """Until the page's script has run."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", state="attached", timeout=WAIT)


def plot(page: Page, expression: str, which: int = 0) -> Any:
    """A JavaScript expression of `plot`, a plotly chart of the page."""
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot').length > {which}", timeout=WAIT)
    return page.evaluate(
        f"(() => {{ const plot = document.querySelectorAll('.js-plotly-plot')[{which}]; return {expression}; }})()"
    )


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a select box, by the mouse.

    An open list closes when what is around it scrolls, as a menu does, and a click first scrolls its box into view; so the box
    is brought there before, on a page that stands still. Where the list is gone all the same, it is opened again.
    """
    settle(page)
    box, wanted = page.get_by_role("combobox", name=label), page.get_by_role("option", name=option, exact=True)
    box.scroll_into_view_if_needed()
    deadline = time.monotonic() + WAIT / 1000
    while True:
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if not page.get_by_role("option").count():
            box.click()
        try:
            wanted.click(timeout=3000)
            return
        except Error:  # not there, or not long enough to be clicked
            assert time.monotonic() < deadline, f"{label} never showed {option}"
