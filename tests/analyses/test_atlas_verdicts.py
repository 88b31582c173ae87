"""Stored verdicts may be anything: what is none, was replaced, or belongs to no run is told, and hides no other."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from statescope.analyses.atlas.claim import every_claim
from statescope.analyses.atlas.measurement import Verdict
from statescope.analyses.atlas.table import table_of
from statescope.analyses.atlas.verdicts import stored_verdicts
from statescope.app.atlas import list_papers
from statescope.probe.results.result import DamagedResultError
from statescope.probe.runs.run import Run

CLAIMS = {claim.kind: claim for claim in every_claim()}


# What is stored may be anything


def rewrite(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], object], *, listed: bool) -> Path:
    """Change columns and `about` of the verdicts of a run, as another program could, with or without listing the new digest."""
    path = run / "results" / "verdicts.parquet"
    table = parquet.read_table(path)
    header = json.loads(table.schema.metadata[b"statescope"])
    columns = table.to_pydict()
    change(columns, header["about"])
    parquet.write_table(pa.table(columns).replace_schema_metadata({b"statescope": json.dumps(header).encode()}), path)
    if listed:
        list_again(run, path)
    return path


def list_again(run: Path, path: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    manifest["files"]["results/verdicts.parquet"] = {"sha256": digest, "bytes": size}
    (run / "manifest.json").write_text(json.dumps(manifest))


ODD: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a verdict that is another word": lambda columns, about: columns.update(verdict=["foo"] * len(columns["verdict"])),
    "a verdict that is a number": lambda columns, about: columns.update(verdict=[1.5] * len(columns["verdict"])),
    "no rows": lambda columns, about: columns.update({name: [] for name in columns}),
    "a relation that is none": lambda columns, about: columns.update(relation=["near"] * len(columns["verdict"])),
    "what is judged is another word": lambda columns, about: columns.update(over=["some"] * len(columns["verdict"])),
    "a number that is text": lambda columns, about: columns.update(found=["x"] * len(columns["verdict"])),
    "a number that is NaN": lambda columns, about: columns.update(low=[float("nan")] * len(columns["verdict"])),
    "a column that lacks": lambda columns, about: columns.pop("expected"),
    "nothing about it": lambda columns, about: about.clear(),
    "a paper that is a list": lambda columns, about: about.update(paper=["P155"]),
    "a claim that is a number": lambda columns, about: about.update(claim=155),
    "no seeds": lambda columns, about: about.pop("seeds"),
    "seeds that are a number": lambda columns, about: about.update(seeds=3),
    "seeds that are none": lambda columns, about: about.update(seeds=[]),
    "a scope that is none": lambda columns, about: about.update(scope="wide"),
    "no note": lambda columns, about: about.pop("note"),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two claims, one of either paper."""
    folder = tmp_path_factory.mktemp("measured")
    for kind in ("p155-taylor", "p013-views"):
        CLAIMS[kind]().run(folder / kind)
    return folder


@pytest.fixture
def two(measured: Path, tmp_path: Path) -> Path:
    shutil.copytree(measured, tmp_path / "runs")
    return tmp_path / "runs"


def statuses(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], str]:
    """What `statescope atlas list` says of each paper, and of files."""
    list_papers(folder, json=True)
    told = capsys.readouterr()
    return {row["number"]: row["status"] for row in json.loads(told.out)}, told.err


def test_the_list_reads_verdicts_without_what_measures_or_draws_them(measured: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom statescope.app.atlas import list_papers\n"
        "list_papers(Path(sys.argv[1]))\n"
        "print(sorted({'pandas', 'torch', 'scipy', 'sklearn', 'plotly', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(measured)], capture_output=True, text=True, check=True)
    listed = done.stdout.splitlines()
    assert listed[-1] == "[]"
    stored, _ = stored_verdicts(measured)
    for verdicts, _ in stored.values():
        assert any(line.startswith(verdicts.about["paper"]) and line.endswith(f"  {verdicts.verdict}") for line in listed)


@pytest.mark.parametrize("odd", ODD)
def test_verdicts_that_are_none_are_named_and_hide_no_other(odd: str, two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, silent = statuses(two, capsys)
    assert silent == "" and right["P155"] in get_args(Verdict)
    path = rewrite(two / "p155-taylor", ODD[odd], listed=True)
    with pytest.raises(DamagedResultError, match=r"verdicts\.parquet cannot be read as a result"):
        Run(two / "p155-taylor").result("verdicts")
    found, told = statuses(two, capsys)
    assert found == right | {"P155": "damaged"}
    assert told.count("\n") == 1 and str(path) in told
    table = table_of(two)
    assert "| P155 | p155-taylor | identity | damaged | | |" in table and "[p013-views](#p013-views)" in table


def better(columns: dict[str, Any], about: dict[str, Any]) -> None:
    columns["verdict"] = ["holds"] * len(columns["verdict"])
    columns["found"] = [0.0] * len(columns["verdict"])


def test_verdicts_that_were_replaced_are_damaged_and_never_hold(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, _ = statuses(two, capsys)
    path = rewrite(two / "p155-taylor", better, listed=False)
    found, told = statuses(two, capsys)
    assert found == right | {"P155": "damaged"}
    assert told.count("\n") == 1 and f"{path} " in told
    assert "| P155 | p155-taylor | identity | damaged | | |" in table_of(two)
    assert [(one.claim, str(path) in one.why) for one in stored_verdicts(two)[1]] == [("p155-taylor", True)]


@pytest.mark.parametrize("listed", [False, True])
def test_junk_in_the_place_of_verdicts_is_told(two: Path, listed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = two / "p155-taylor" / "results" / "verdicts.parquet"
    path.write_bytes(b"PAR1 junk\n junk")
    if listed:
        list_again(two / "p155-taylor", path)
    found, told = statuses(two, capsys)
    assert found["P155"] == "damaged" and found["P013"] in get_args(Verdict)
    assert told.count("\n") == 1 and str(path) in told


def test_verdicts_beside_no_run_are_told(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "p155-taylor" / "manifest.json").write_text("{}")
    (two / "alone" / "results").mkdir(parents=True)
    shutil.copy(two / "p013-views" / "results" / "verdicts.parquet", two / "alone" / "results")
    found, told = statuses(two, capsys)
    assert found["P155"] == "not measured yet" and found["P013"] in get_args(Verdict), "nothing says whose run it is"
    assert told.count("\n") == 2 and "p155-taylor/manifest.json" in told and "alone/manifest.json" in told
