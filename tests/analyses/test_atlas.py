"""The atlas: papers, claims, and verdicts that tell what was found."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from scipy import stats

from statescope.analyses.atlas.catalogue import paper, paper_of, papers
from statescope.analyses.atlas.claim import ChangedClaimError, Claim, TooFewSeedsError, claims_in, claims_of, every_claim
from statescope.analyses.atlas.measurement import Measurement, Scope, Verdict, at_least, at_most, equals, in_every_seed, weakest
from statescope.analyses.atlas.table import table_of
from statescope.analyses.atlas.verdicts import Verdicts, stored_verdicts, verdicts_of
from statescope.analyses.studies.findings import Findings, Numbers
from statescope.app.atlas import list_papers
from statescope.app.seeds import BadSeedsError, parse_seeds
from statescope.app.study_arguments import study_of_run
from statescope.probe.errors import UnknownNameError
from statescope.probe.results.result import DamagedResultError
from statescope.probe.runs.run import Run

CLAIMS = {claim.kind: claim for claim in every_claim()}
ABOUT = {"paper": "P000", "claim": "p000-x", "statement": "It is so.", "note": ""}
DRAWN = sorted(kind for kind, claim in CLAIMS.items() if claim.scope != Scope.TRAINED)


def test_the_papers() -> None:
    assert len(papers()) == 211
    assert sum(one.set == "core" for one in papers().values()) == 59
    assert list(papers()) == sorted(papers())
    for number, one in papers().items():
        assert number == one.number and one.name and one.title and one.room and one.claim
        assert one.authors and re.fullmatch(r"\d{4}\.\d{4,5}", one.arxiv), number
        assert one.year - 2000 - int(one.arxiv[:2]) in (0, 1), f"{number}: a paper is published in the year it is on arXiv, or the next"
    assert len({one.arxiv for one in papers().values()}) == 211
    assert paper("p153").reference == "Gu and Dao 2023, arXiv:2312.00752"
    with pytest.raises(UnknownNameError, match="paper 'P999' is not known"):
        paper("P999")


def test_every_claim_says_what_it_expects() -> None:
    assert len(CLAIMS) >= 23
    for kind, claim in CLAIMS.items():
        assert claim.paper in papers() and kind.startswith(f"{claim.paper.lower()}-")
        assert claim.statement and claim.measurements and claim.scope in Scope
        names = [measurement.what for measurement in claim.measurements]
        assert len(names) == len(set(names))
        assert len(claim().seeds) >= 3
    assert {claim.paper for claim in CLAIMS.values()} == {one.number for one in papers().values() if one.has_claims}


def test_a_paper_without_claims_is_named() -> None:
    with pytest.raises(UnknownNameError, match="paper with claims 'P000' is not known"):
        claims_of("P000")


def test_fewer_than_three_seeds_give_no_verdict() -> None:
    for seeds in ((0, 1), (0, 0, 0)):
        with pytest.raises(TooFewSeedsError, match="at least 3 seeds"):
            CLAIMS["p001-forms"](seeds=seeds)


@pytest.mark.parametrize(
    ("measurement", "low", "high", "verdict"),
    [
        (at_least("x", 0.5), 0.5, 0.9, "holds"),
        (at_least("x", 0.5), 0.49, 0.9, "inconclusive"),
        (at_least("x", 0.5), 0.1, 0.49, "does not reproduce"),
        (at_most("x", 0.5), 0.1, 0.5, "holds"),
        (at_most("x", 0.5), 0.1, 0.51, "inconclusive"),
        (at_most("x", 0.5), 0.51, 0.6, "does not reproduce"),
        (equals("x", 0.5, 0.1), 0.4, 0.6, "holds"),
        (equals("x", 0.5, 0.1), 0.3, 0.7, "inconclusive"),
        (equals("x", 0.5, 0.1), 0.61, 0.7, "does not reproduce"),
    ],
)
def test_an_interval_is_judged_as_a_whole(measurement: Measurement, low: float, high: float, verdict: str) -> None:
    assert measurement.judge(low, high) == verdict


@pytest.mark.parametrize(
    ("measurement", "values", "verdict"),
    [
        (at_least("x", 0.0), [0.0, 0.2, 0.9], "holds"),
        (at_least("x", 0.0), [-1e-3, 0.2, 0.9], "does not reproduce"),
        (at_most("x", 0.5), [0.1, 0.5], "holds"),
        (at_most("x", 0.5), [0.1, 0.1, 0.1, 0.6], "does not reproduce"),
        (equals("x", 2), [2, 2, 2], "holds"),
        (equals("x", 2), [2, 2, 3], "does not reproduce"),
    ],
)
def test_one_seed_refutes_what_holds_in_every_seed(measurement: Measurement, values: list[float], verdict: str) -> None:
    """In a trained claim where it says so, and in an identity or a construction always."""
    for one, scope in [
        (in_every_seed(measurement), Scope.TRAINED),
        (measurement, Scope.IDENTITY),
        (measurement, Scope.CONSTRUCTION),
    ]:
        found = verdicts_of((one,), {seed: {"x": value} for seed, value in enumerate(values)}, scope, ABOUT)
        row = found.table.iloc[0]
        assert found.verdict == row["verdict"] == verdict
        assert (row["over"], row["low"], row["high"]) == ("every seed", min(values), max(values))


def test_a_mean_may_hold_though_a_seed_fails() -> None:
    """Judged by its mean, a theorem's bound would be inconclusive where each seed keeps it, and hold where one breaks it."""
    kept, broken = [0.0042, 0.0001, 0.0083], [0.4, 0.5, 0.6, 0.5, -0.01]
    for values, by_mean, by_seed in [(kept, "inconclusive", "holds"), (broken, "holds", "does not reproduce")]:
        numbers = {seed: {"x": value} for seed, value in enumerate(values)}
        for one, verdict in [(at_least("x", 0.0), by_mean), (in_every_seed(at_least("x", 0.0)), by_seed)]:
            assert verdicts_of((one,), numbers, Scope.TRAINED, ABOUT).verdict == verdict


def test_a_proven_bound_is_judged_in_every_seed() -> None:
    """Eigenvalues in [0, 1] by construction, and exact counts, are bounds that a mean cannot speak of."""
    bound = CLAIMS["p006-parity"].measurements[3]
    assert bound.what == "least eigenvalue used, [0, 1]" and bound.over == "every seed"
    for claim in CLAIMS.values():
        for one in claim.measurements:
            assert one.relation != "equals" or one.tolerance or one.under(claim.scope).over == "every seed"


def test_the_interval_of_a_mean_is_students() -> None:
    """For 3 seeds the half width is 4.303 standard errors; what must hold for every draw spans all of them."""
    values, mean = [0.90, 0.95, 1.0], at_least("x", 0).under(Scope.TRAINED)
    low, high = mean.interval(values)
    assert high - 0.95 == pytest.approx(4.30265 * 0.05 / 3**0.5, rel=1e-5) and low == pytest.approx(1.9 - high)
    for scope in (Scope.IDENTITY, Scope.CONSTRUCTION):
        assert at_least("x", 0).under(scope).interval(values) == (0.90, 1.0)
    drawn = np.random.default_rng(0).normal(size=(2000, 3))
    covered = [low <= 0 <= high for low, high in map(mean.interval, drawn.tolist())]
    assert stats.binomtest(sum(covered), 2000, 0.95).pvalue > 0.01


def test_the_weakest_verdict_is_the_claims() -> None:
    assert weakest(["holds", "holds"]) == "holds"
    assert weakest(["holds", "inconclusive"]) == "inconclusive"
    assert weakest(["inconclusive", "does not reproduce", "holds"]) == "does not reproduce"


def test_a_number_that_was_not_measured_or_is_not_finite_gives_no_verdict() -> None:
    with pytest.raises(KeyError, match="'y' was not measured; measured were x"):
        verdicts_of((at_most("y", 1),), {0: {"x": 1.0}}, Scope.IDENTITY, {})
    with pytest.raises(ValueError, match="'x' is nan"):
        verdicts_of((at_most("x", 1),), {0: {"x": float("nan")}}, Scope.IDENTITY, {})


def test_a_figure_has_one_unit_an_axis_and_shows_thresholds_and_verdicts() -> None:
    measurements = (at_most("error", 1e-4), at_least("right", 0.9, "accuracy"), at_least("left", 0.5, "accuracy"))
    numbers = {seed: {"error": 1e-7, "right": 0.95, "left": 0.2} for seed in range(3)}
    verdicts = verdicts_of(measurements, numbers, Scope.IDENTITY, ABOUT)
    errors, accuracies = verdicts.specification().panels
    assert errors.x_label == "relative error" and errors.x_log and accuracies.x_label == "accuracy" and not accuracies.x_log
    assert accuracies.marks[0].names == ["right: holds", "left: does not reproduce"]
    assert list(accuracies.marks[1].values) == [0.9, 0.5] and accuracies.marks[1].label == "threshold"
    assert verdicts.verdict == "does not reproduce"
    assert "left: 0.2 [0.2, 0.2], at least 0.5: does not reproduce" in verdicts.summary()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atlas")


@pytest.mark.parametrize("kind", DRAWN)
def test_an_identity_or_construction_holds(kind: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_draw", lambda self, name, result: None)  # takes longer than most claims
    claim = CLAIMS[kind]().small()
    run = claim.run(runs / claim.run_name)
    verdicts = run.result("verdicts")
    assert isinstance(verdicts, Verdicts)
    assert verdicts.verdict == "holds", verdicts.summary()
    assert verdicts.about["seeds"] == list(claim.seeds)
    for name in run.result_names:
        assert run.result(name).summary() and run.result(name).specification().panels
    assert run.problems() == []
    assert study_of_run(run.path) == claim


class Counted(Claim, kind="counted"):
    """Stops at a seed when told to."""

    paper, scope = "Nobody 2026", Scope.IDENTITY
    statement = "Each seed is measured once."
    measurements = (at_most("error", 1.0),)
    asked: list[int] = []  # noqa: RUF012 (shared on purpose)
    stop_at: int | None = None

    def experiment(self, seed: int, run: Run) -> Findings:
        if seed == type(self).stop_at:
            raise KeyboardInterrupt
        self.asked.append(seed)
        return Findings({"error": seed / 10})


def test_a_claim_goes_on_with_the_seed_it_was_stopped_at(tmp_path: Path) -> None:
    Counted.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        Counted().run(tmp_path / "run")
    Counted.stop_at = None
    run = Counted().run(tmp_path / "run")
    assert Counted.asked == [0, 1, 2]
    numbers = run.result("seed2")
    assert isinstance(numbers, Numbers) and numbers.as_dict() == {"error": 0.2}
    verdicts, where = stored_verdicts(tmp_path)[0]["counted"]
    assert where == run.path and verdicts.table["high"].item() == 0.2


def test_verdicts_on_other_thresholds_are_not_shown_as_the_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Counted().run(tmp_path / "run")
    monkeypatch.setattr(Counted, "measurements", (at_most("error", 0.1),))
    with pytest.raises(ChangedClaimError, match="delete it to measure again"):
        Counted().run(tmp_path / "run")


OUTSIDE = """
from dataclasses import dataclass

from statescope import delta_rule
from statescope.analyses.atlas.claim import Claim
from statescope.analyses.atlas.measurement import Scope, at_most
from statescope.analyses.studies.findings import Axes, Findings

import torch

WRITTEN = "a written value read back, error"

@dataclass(frozen=True)
class ReadBack(Claim, kind="outside-read-back"):
    \"\"\"One pair.\"\"\"

    size: int = 4
    \"\"\"of keys and values\"\"\"

    paper, scope = "Somebody 2026", Scope.CONSTRUCTION
    statement = "With beta = 1 a delta rule reads back what it wrote."
    measurements = (at_most(WRITTEN, {bound}),)
    panels = (Axes("values", "channel", "value"),)

    def experiment(self, seed, run):
        value = torch.randn(1, 1, 1, self.size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        key = torch.eye(self.size, dtype=torch.float64)[:1, None, None]
        output = delta_rule(key, key, value, torch.ones(1, 1, 1, dtype=torch.float64)).output
        curve = (list(range(self.size)), value.flatten().tolist())
        return Findings({{WRITTEN: float((output - value).abs().max())}}, {{("values", "written"): curve}})
"""


def atlas(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statescope", "atlas", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("bound", "code", "verdict"), [("1e-12", 0, "holds"), ("-1.0", 1, "does not reproduce")])
def test_a_claim_from_outside_is_one_file(tmp_path: Path, bound: str, code: int, verdict: str) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(OUTSIDE).format(bound=bound))
    done = atlas("verify", "mine.py", "--seeds", "0..4", folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert f"outside-read-back (construction): {verdict}" in done.stdout
    ((found, path),) = stored_verdicts(tmp_path / "runs")[0].values()
    assert found.verdict == verdict and found.about["seeds"] == [0, 1, 2, 3, 4]
    assert Run(path).result("curves").figure().to_plotly().data
    assert "Somebody 2026" in table_of(tmp_path / "runs")
    listed = {row["number"]: row["status"] for row in json.loads(atlas("list", "--json", folder=tmp_path).stdout)}
    assert len(listed) == 212 and listed["Somebody 2026"] == verdict


def test_claims_of_an_installed_package_are_listed_and_verified(tmp_path: Path) -> None:
    """Of a paper that the atlas lists and of one that it does not; the list imports neither them nor torch."""
    text = textwrap.dedent(OUTSIDE).format(bound="1e-12")
    (tmp_path / "garden.py").write_text("import sys\nprint('imported', file=sys.stderr)\n" + text)
    (tmp_path / "beds.py").write_text(
        "from garden import ReadBack\n\n\nclass Listed(ReadBack, kind='listed-read-back'):\n    paper = 'P000'\n"
    )
    information = tmp_path / "garden-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: garden\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[statescope.plugins]\ngarden = garden\nbeds = beds\n")
    code = "import sys; from statescope.app.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, "atlas", "list", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert listed.stderr.strip() == "False"
    status = {row["number"]: row["status"] for row in json.loads(listed.stdout)}
    assert len(status) == 212 and status["Somebody 2026"] == status["P000"] == "not measured yet"
    done = atlas("verify", "Somebody 2026", folder=tmp_path)
    assert done.returncode == 0 and "outside-read-back (construction): holds" in done.stdout, done.stderr
    assert "Somebody 2026" in table_of(tmp_path / "runs")


def test_a_file_without_claims_is_named(tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text("x = 1\n")
    with pytest.raises(UnknownNameError, match=r"nothing\.py"):
        claims_in(str(tmp_path / "nothing.py"))
    with pytest.raises(UnknownNameError, match=r"missing\.py"):
        claims_in(str(tmp_path / "missing.py"))


def test_the_list_shows_every_paper_and_its_verdict_without_torch(runs: Path, tmp_path: Path) -> None:
    claim = CLAIMS["p155-taylor"]()
    claim.run(runs / claim.run_name)
    code = "import sys; from statescope.app.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, "atlas", "list", "--json", "--folder", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.strip() == "False"
    rows: dict[str, Mapping[str, str]] = {row["number"]: row for row in json.loads(done.stdout)}
    assert len(rows) == 211
    assert rows["P155"]["status"] in ("holds", "inconclusive", "does not reproduce")
    assert rows["P000"]["status"] == "absent"
    shown = atlas("list", folder=tmp_path).stdout
    assert "P155" in shown and "not measured yet" in shown and "211 papers" in shown


def test_the_table_is_drawn_from_stored_verdicts(runs: Path) -> None:
    claim = CLAIMS["p155-taylor"]()
    verdicts = claim.run(runs / claim.run_name).result("verdicts")
    assert isinstance(verdicts, Verdicts)
    table = table_of(runs)
    assert f"| P155 | [p155-taylor](#p155-taylor) | identity | {verdicts.verdict} | 0..2 |" in table
    for row in verdicts.table.itertuples():
        assert f"| {row.found:.4g} | {row.low:.4g} to {row.high:.4g} | {row.verdict} |" in table
    assert "| P006 | p006-parity | trained | not measured yet | | |" in table
    assert paper_of("p155-taylor") == "P155" and paper_of("counted") is None
    absent = re.split(r"## absent: \d+ papers", table)[1]
    assert "| P000 |" in absent and "| P155 |" not in absent


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


@pytest.mark.parametrize(("text", "seeds"), [("0..4", (0, 1, 2, 3, 4)), ("0,2,5", (0, 2, 5)), ("7", (7,))])
def test_seeds_of_the_command_line(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "4..0", "a", "0..", "0..99999999", "1.5"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadSeedsError, match="range such as"):
        parse_seeds(text)
