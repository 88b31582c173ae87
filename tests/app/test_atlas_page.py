"""The page of the atlas."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from opened_app import charts
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from statescope.analyses.atlas.catalogue import papers
from statescope.analyses.atlas.claim import claims_of
from statescope.analyses.atlas.verdicts import Verdicts
from statescope.probe.runs.manifest import FileRecord

MAIN = Path(__file__).resolve().parents[2] / "app" / "server" / "main.py"
PAPER = "P013"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verdicts]:
    """A folder in which the first claim of one paper has been measured."""
    folder = tmp_path_factory.mktemp("measured")
    claim = claims_of(PAPER)[0]()
    found = claim.run(folder / "atlas" / claim.run_name).result("verdicts")
    assert isinstance(found, Verdicts)
    return folder, found


def open_page(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("STATESCOPE_RUNS", str(folder))
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    app._page_hash = calc_hash("atlas")
    return app.run()


def test_all_papers_stand_with_their_verdicts(measured: tuple[Path, Verdicts], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = measured
    app = open_page(folder, monkeypatch)
    assert not app.exception
    table = app.dataframe[0].value.set_index("paper")
    assert list(table.index) == list(papers())
    assert table.loc[PAPER, "verdict"].endswith(found.verdict)
    for number, paper in papers().items():
        if number != PAPER:
            assert table.loc[number, "verdict"].endswith("not measured yet" if paper.has_claims else "no claim here")


def test_a_paper_shows_its_claim_numbers_figure_and_the_command(
    measured: tuple[Path, Verdicts], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = measured
    app = open_page(folder, monkeypatch, paper=PAPER)
    assert not app.exception
    assert app.subheader[0].value == f"{PAPER}: {papers()[PAPER].name}"
    assert any(papers()[PAPER].claim in text.value for text in app.text)
    assert any(found.about["statement"] in text.value for text in app.text)
    numbers = next(frame.value for frame in app.dataframe if "tolerance" in frame.value)
    assert numbers["found"].tolist() == found.table["found"].tolist()
    assert numbers["verdict"].tolist() == found.table["verdict"].tolist()
    assert len(charts(app)) == 1
    assert any(block.value == f"statescope atlas verify {PAPER}" for block in app.code)


def test_verdicts_that_are_none_are_told_and_hide_no_other(
    measured: tuple[Path, Verdicts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was replaced, and one that is listed as it is but is no verdict."""
    folder, found = measured
    source = next((folder / "atlas").iterdir())
    shutil.copytree(source, tmp_path / "replaced")
    shutil.copytree(source, tmp_path / "odd")
    for name in ("replaced", "odd"):
        path = tmp_path / name / "results" / "verdicts.parquet"
        table = parquet.read_table(path)
        column = table.schema.get_field_index("verdict")
        parquet.write_table(table.set_column(column, "verdict", [["foo"] * len(table)]), path)
    manifest = json.loads((tmp_path / "odd" / "manifest.json").read_text())
    manifest["files"]["results/verdicts.parquet"] = vars(FileRecord.of(tmp_path / "odd" / "results" / "verdicts.parquet"))
    (tmp_path / "odd" / "manifest.json").write_text(json.dumps(manifest))
    app = open_page(tmp_path, monkeypatch, paper=PAPER)
    assert not app.exception
    told = [error.value for error in app.error]
    assert any("was altered" in text or "were written" in text for text in told) and any("foo" in text for text in told)
    assert app.dataframe[0].value.set_index("paper").loc[PAPER, "verdict"].endswith("damaged")
    shutil.copytree(source, tmp_path / "sound")
    app = open_page(tmp_path, monkeypatch, paper=PAPER)
    assert not app.exception and len(app.error) == 2
    assert app.dataframe[0].value.set_index("paper").loc[PAPER, "verdict"].endswith(found.verdict)


def test_papers_are_filtered_by_what_stands_in_the_address(
    measured: tuple[Path, Verdicts], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = measured
    held = open_page(folder, monkeypatch, verdict=found.verdict).dataframe[0].value
    assert held["paper"].tolist() == [PAPER]
    room = papers()[PAPER].room
    own = open_page(folder, monkeypatch, room=room).dataframe[0].value
    assert own["paper"].tolist() == [number for number, paper in papers().items() if paper.room == room]
    named = open_page(folder, monkeypatch, search="delta rule parallelizing").dataframe[0].value
    assert "P001" in named["paper"].tolist() and len(named) < 10


def test_a_paper_without_claims_says_so(measured: tuple[Path, Verdicts], monkeypatch: pytest.MonkeyPatch) -> None:
    number = next(number for number, paper in papers().items() if not paper.has_claims)
    app = open_page(measured[0], monkeypatch, paper=number)
    assert not app.exception
    assert any("Nothing here measures" in told.value for told in app.info)
    assert not [button for button in app.button if button.label == "Measure it here"]
