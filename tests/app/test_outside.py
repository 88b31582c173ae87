"""A result and its page that are no part of the package: one file of the user's own."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest
from opened_app import charts
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from statescope.probe.plugins import import_file
from statescope.probe.results.result import Result
from statescope.probe.runs.study import Study

MAIN = Path(__file__).resolve().parents[2] / "app" / "server" / "main.py"

STUDY = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result
from statescope.probe.runs.run import Run
from statescope.probe.runs.study import Study


@dataclass(frozen=True)
class Horizon(Result, kind="outside_horizon"):
    """How long a head remembers."""

    title: ClassVar[str] = "Memory horizon"
    columns: ClassVar[dict[str, str]] = {"model": "name", "layer": "block", "lag": "tokens", "weight": "of the past"}
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer")

    def summary(self) -> str:
        return f"largest weight {self.table['weight'].max():.2f} in {len(self.table)} rows"

    def specification(self) -> Figure:
        lines = [Line(own["lag"].to_numpy(), own["weight"].to_numpy(), str(layer)) for layer, own in self.table.groupby("layer")]
        return Figure(self.title, [Panel(lines, "lag", "weight")], alt=self.summary())


@dataclass(frozen=True)
class HorizonStudy(Study, kind="outside_horizons"):
    """Makes one."""

    question: ClassVar[str] = "How long is the memory?"

    def execute(self, run: Run) -> None:
        run.compute("horizon_of_all", horizon)


def horizon() -> Horizon:
    rows = [("a", layer, lag, 0.5 ** (lag * (layer + 1))) for layer in (0, 1) for lag in range(5)]
    return Horizon(pd.DataFrame(rows, columns=list(Horizon.columns)))
'''

PAGE = '''
from statescope.app.pages.page import Page


class Horizons(Page, kind="outside_horizons"):
    """The page."""

    title = "Horizons"
    shows = ("outside_horizon",)
    intro = "How long a head remembers."
'''


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with a run of a study that a file beside it defines."""
    (tmp_path / "horizons.py").write_text(textwrap.dedent(STUDY))
    (tmp_path / "horizon_page.py").write_text(textwrap.dedent(PAGE))
    module = import_file(tmp_path / "horizons.py")
    module.HorizonStudy().run(tmp_path / "runs" / "mine")
    yield tmp_path
    forget_classes()


def forget_classes() -> None:
    """As a new process knows them."""
    from statescope.app.pages.page import Page

    for family, kind in ((Result, "outside_horizon"), (Study, "outside_horizons"), (Page, "outside_horizons")):
        family.known.pop(kind, None)
    for name in [name for name in sys.modules if name.startswith(("horizons_", "horizon_page_"))]:
        del sys.modules[name]


def open_app(folder: Path, monkeypatch: pytest.MonkeyPatch, page: str, *plugins: str) -> AppTest:
    forget_classes()
    monkeypatch.setenv("STATESCOPE_RUNS", str(folder / "runs"))
    monkeypatch.setenv("STATESCOPE_PLUGINS", os.pathsep.join(str(folder / name) for name in plugins))
    app = AppTest.from_file(str(MAIN), default_timeout=60).run()
    app._page_hash = calc_hash(page)
    return app.run()


def test_a_result_without_a_page_has_selectors_figure_summary_table_and_exports(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(made, monkeypatch, "results", "horizons.py")
    assert not app.exception and not app.error
    assert app.header[0].value == "Other results"
    assert app.selectbox(key="layer").options == ["all", "0", "1"]
    assert [text.value for text in app.text] == ["largest weight 1.00 in 10 rows"]
    assert len(charts(app)) == 1 and len(app.dataframe) == 1 and len(app.get("download_button")) >= 5
    app.selectbox(key="layer").select(1).run()
    assert [text.value for text in app.text] == ["largest weight 1.00 in 5 rows"]
    assert set(app.dataframe[0].value["series"]) == {"1"}
    assert any("result.figure(layer=1)" in block.value for block in app.code)


def test_the_command_that_goes_on_with_a_run_has_the_file_of_a_study_of_ones_own(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the command is refused: no file is run that a run names."""
    app = open_app(made, monkeypatch, "overview", "horizons.py")
    assert app.code[0].value.startswith(f"statescope run my_study.py {made / 'runs' / 'mine'} ")


def test_a_page_in_one_file_shows_the_kinds_it_declares_under_any_name(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(PAGE.strip().splitlines()) < 12
    app = open_app(made, monkeypatch, "outside_horizons", "horizons.py", "horizon_page.py")
    assert not app.exception and not app.error
    assert app.header[0].value == "Horizons"
    assert any("How long a head remembers." in text.value for text in app.markdown)
    assert app.selectbox(key="layer").options == ["all", "0", "1"]
    assert len(charts(app)) == 1
    rest = open_app(made, monkeypatch, "results", "horizons.py", "horizon_page.py")
    assert not charts(rest), "what has a page is not shown twice"


def test_without_its_file_the_result_is_told_and_the_run_is_shown(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(made, monkeypatch, "results")
    assert not app.exception
    assert any("outside_horizon" in error.value and "import its file" in error.value for error in app.error)


def test_a_file_that_cannot_be_imported_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made / "broken.py").write_text("import no_such_module_anywhere\n")
    app = open_app(made, monkeypatch, "results", "horizons.py", "broken.py")
    assert not app.exception
    assert any("broken.py" in error.value and "line 1" in error.value for error in app.sidebar.error)
    assert len(charts(app)) == 1
