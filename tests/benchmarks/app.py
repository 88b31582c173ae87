"""How long the app makes one wait, and what it holds in memory: `python tests/benchmarks/app.py RUNS` prints a table.

RUNS is a folder with a finished run. A browser opens the first page; steps through a text of 4,096 tokens in a model of 4 layers
of 8 heads with a state of 64 x 64; lists 500 runs. It needs Chromium and the package playwright. Numbers are of one machine, and
of whatever else it does meanwhile; the load is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
TOKENS, STEPS, FEW, MANY = 4096, 30, 20, 200
WAIT = 600_000  # milliseconds


@contextmanager
def served(folder: Path, models: Sequence[Path] = ()) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app over a folder of runs, and its address; it answers once this begins."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "statescope", "app", *map(str, models), "--folder", str(folder), "--port", str(port)]
    with subprocess.Popen([*command, "--no-browser"], stdout=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise
                time.sleep(0.05)
        try:
            yield server, url
        finally:
            server.terminate()


def memory(process: subprocess.Popen[bytes]) -> float:
    """What a process holds in memory, in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def seconds_of(process: subprocess.Popen[bytes]) -> float:
    """The seconds of computation that a process has had."""
    spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def until(page: Page, condition: str) -> float:
    """The seconds until a condition in JavaScript holds."""
    begin = time.monotonic()
    page.wait_for_function(condition, timeout=WAIT, polling=10)
    return time.monotonic() - begin


def first_page(page: Page, folder: Path) -> dict[str, float]:
    """From the start of the server to the first chart of a finished run; and again in a new visit."""
    begin = time.monotonic()
    drawn = "document.querySelectorAll('.js-plotly-plot .main-svg').length > 0"
    with served(folder) as (_, url):
        up = time.monotonic() - begin
        page.goto(url)
        until(page, drawn)
        first = time.monotonic() - begin
        page.goto("about:blank")
        page.goto(url)
        again = until(page, drawn)
    return {"server answers": up, "first chart after the start": first, "first chart of another visit": again}


def steps(page: Page, models: Path, folder: Path) -> dict[str, float]:
    """How long a step of the token takes until the matrix of its state is drawn; memory after few and after many steps."""
    text = "".join(str(index * 7 % 10) for index in range(TOKENS))
    found: list[float] = []
    with served(folder, [models]) as (server, url):
        begin = time.monotonic()
        page.goto(f"{url}/live_state?live=large&text={text}&generate=0")
        box = page.get_by_text("Wait for it", exact=False)
        state = "document.querySelector('.chart')?.getAttribute('aria-label') ?? ''"
        ready = f"({state}).includes('After token') || document.body.innerText.includes('Wait for it')"
        until(page, ready)
        if box.count():
            box.first.click()
            until(page, f"({state}).includes('After token')")
        page.wait_for_selector(SETTLED, state="attached", timeout=WAIT)
        opened = time.monotonic() - begin
        page.locator(".strip").first.focus()
        held, computed = {}, seconds_of(server)
        for step in range(MANY + 1):
            before = page.evaluate(state)
            begin = time.monotonic()
            page.keyboard.press("ArrowLeft" if step % 40 < 20 else "ArrowRight")
            page.wait_for_function(f"old => ({state}) !== old", arg=before, timeout=WAIT, polling=5)
            found.append(time.monotonic() - begin)
            page.wait_for_selector(SETTLED, state="attached", timeout=WAIT)
            if step in (FEW, MANY):
                held[step] = memory(server)
        computed = (seconds_of(server) - computed) / (MANY + 1)
        ends = statistics.quantiles(found[:STEPS], n=10)
    return {
        "text opened": opened,
        "step, median": statistics.median(found[:STEPS]),
        "step, 90th percentile": ends[-1],
        "step, computation of the server": computed,
        f"memory after {FEW} steps, MB": held[FEW],
        f"memory after {MANY} steps, MB": held[MANY],
    }


def many_runs(page: Page, run: Path, folder: Path) -> dict[str, float]:
    """The list of 500 runs, in a server that is warm."""
    plain = json.loads((run / "manifest.json").read_text())
    for number in range(500):
        (folder / f"run-{number:03}").mkdir(parents=True)
        (folder / f"run-{number:03}" / "manifest.json").write_text(json.dumps(plain))
    listed = "document.body.innerText.includes('500 finished')"
    with served(folder) as (_, url):
        page.goto(f"{url}/runs")
        until(page, listed)
        page.goto("about:blank")
        page.goto(f"{url}/runs")
        again = until(page, listed)
    from statescope.app.components.index import runs_there_are

    runs_there_are(folder)
    begin = time.monotonic()
    runs_there_are(folder)
    return {"500 runs on the page": again, "500 runs read again": time.monotonic() - begin}


def large_model(folder: Path) -> None:
    """A model of 4 layers of 8 heads with keys and values of 64, that reads digits."""
    from statescope import Model, ModelConfig
    from statescope.probe.mixers import DeltaNet

    Model(ModelConfig(10, width=512, layers=4, mixer=DeltaNet(heads=8))).save(folder / "large")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="a folder with a finished run")
    runs = parser.parse_args().runs
    run = next(path for path in sorted(runs.iterdir()) if (path / "manifest.json").exists())
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        large_model(Path(place) / "models")
        rows |= first_page(page, runs)
        rows |= many_runs(page, run, Path(place) / "runs")
        rows |= steps(page, Path(place) / "models", Path(place) / "none")
        browser.close()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, value in rows.items():
        print(f"{name:34} {value:10.2f}")


if __name__ == "__main__":
    main()
