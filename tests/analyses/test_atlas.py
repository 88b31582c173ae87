"""The atlas: papers, claims, and the list and table that are drawn from stored verdicts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from statescope.analyses.atlas.catalogue import paper, paper_of, papers
from statescope.analyses.atlas.claim import ChangedClaimError, Claim, TooFewSeedsError, claims_in, claims_of, every_claim
from statescope.analyses.atlas.measurement import Scope, at_most
from statescope.analyses.atlas.table import table_of
from statescope.analyses.atlas.verdicts import Verdicts, stored_verdicts
from statescope.analyses.studies.findings import Findings, Numbers
from statescope.app.seeds import BadSeedsError, parse_seeds
from statescope.app.study_arguments import study_of_run
from statescope.probe.errors import UnknownNameError
from statescope.probe.runs.run import Run

CLAIMS = {claim.kind: claim for claim in every_claim()}
DRAWN = sorted(kind for kind, claim in CLAIMS.items() if claim.scope != Scope.TRAINED)


def test_the_papers() -> None:
    assert len(papers()) == 211
    assert sum(one.set == "core" for one in papers().values()) == 59
    assert list(papers()) == sorted(papers())
    for number, one in papers().items():
        assert number == one.number and one.name and one.title and one.room and one.claim
        assert one.authors and re.fullmatch(r"\d{4}\.\d{4,5}", one.arxiv), number
        assert one.year - 2000 - int(one.arxiv[:2]) in (0, 1), number  # of arXiv, or of a venue in the next year
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


def test_a_proven_bound_is_judged_in_every_seed() -> None:
    """Eigenvalues in [0, 1] by construction, and exact counts, are bounds that a mean cannot speak of."""
    bound = CLAIMS["p006-parity"].measurements[3]
    assert bound.what == "least eigenvalue used, [0, 1]" and bound.over == "every seed"
    for claim in CLAIMS.values():
        for one in claim.measurements:
            assert one.relation != "equals" or one.tolerance or one.under(claim.scope).over == "every seed"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atlas")


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.usefixtures("undrawn")
def test_an_identity_or_construction_holds(kind: str, runs: Path) -> None:
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


@pytest.mark.parametrize(("text", "seeds"), [("0..4", (0, 1, 2, 3, 4)), ("0,2,5", (0, 2, 5)), ("7", (7,))])
def test_seeds_of_the_command_line(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "4..0", "a", "0..", "0..99999999", "1.5"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadSeedsError, match="range such as"):
        parse_seeds(text)
