"""Run folders for the app: finished ones made by the real studies at tiny settings, and damaged copies of them; a browser."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import ARGUMENTS, CHROMIUM, serve
from no_figures import no_figures
from playwright.sync_api import Page, sync_playwright

from statescope import SourceCode, Training
from statescope.analyses.studies.parity import ParityStudy
from statescope.analyses.studies.source_code import SourceCodeStudy
from statescope.estimators import LinearDiscriminant


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of each flagship study, made by the first worker that asks for it. The app never opens figures
    for print, which take longer than all the rest: `test_studies.py` has them drawn.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = tmp_path_factory.mktemp("finished")
            with no_figures():
                run_studies(made, tmp_path_factory.mktemp("corpus"))
            made.rename(folder)
    return folder


def run_studies(folder: Path, corpus: Path) -> None:
    tiny = Training(steps=8, batch=4, length=12, checkpoint_every=4)
    parity = replace(ParityStudy(), training=tiny, width=16, heads=2, test_lengths=(12, 24), sequences=8)
    replace(parity, probe_length=12, probe_sequences=24).run(folder / "parity")
    text = "def f{i}(a, b=({i}, [1])):\n    # note <{i}>\n    if a:\n        return {{'x': g(\"text {i}\")}}\n    return b\n"
    for index in range(100):
        (corpus / f"m{index}.py").write_text(text.format(i=index) * 6)
    SourceCodeStudy(
        task=SourceCode(folder=str(corpus)),
        training=Training(steps=4, batch=2, length=96, checkpoint_every=4, warm_up=2),
        width=16,
        heads=2,
        key_size=4,
        value_size=4,
        probe_windows=16,
        probe_positions=12,
        tangent_samples=6,
        tangent_length=12,
        estimators=(LinearDiscriminant(balanced=True),),
        randoms=3,
        steered_windows=8,
        steered_length=24,
    ).run(folder / "source")


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """The same runs: one without its manifest's end, one with result files missing, cut short and altered."""
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    manifest = folder / "parity" / "manifest.json"
    manifest.write_text(manifest.read_text()[:200])
    for index, path in enumerate(sorted((folder / "source" / "results").glob("*.parquet"))):
        if index % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100])
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1280, "height": 1000})
        browser.close()


@pytest.fixture(scope="module")
def port(finished: Path) -> Iterator[int]:
    with serve(finished) as number:
        yield number
