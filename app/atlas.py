"""The commands of the atlas: statescope atlas list, verify, measure. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json as plain
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from ..probe.results.text import visible

if TYPE_CHECKING:
    from ..analyses.atlas.claim import Claim
    from ..analyses.atlas.stored import Damaged
    from ..analyses.atlas.verdicts import Verdicts

RUNS = Path("runs")
FAILED = 1


def list_papers(folder: Path = RUNS, json: bool = False) -> None:
    """List the papers of the atlas, and what became of the claims of each.

    Verdicts that are not as they were written are told, and count for nothing: their paper is "damaged".

    Args:
        folder: where runs are, whose verdicts are shown.
        json: print JSON instead of a table.

    """
    from ..analyses.atlas.catalogue import declared_claims, papers

    verdicts, there, claimed = _stored(folder), papers(), declared_claims()
    rows = []
    for paper in there.values():
        status = verdicts.get(paper.number, "not measured yet" if paper.number in claimed else "absent")
        rows.append({"number": paper.number, "name": paper.name, "room": paper.room, "set": paper.set, "status": status})
    others = sorted(verdicts.keys() - there.keys())  # of claims in a file of somebody's own
    rows += [{"number": one, "name": one, "room": "", "set": "", "status": verdicts[one]} for one in others]
    if json:
        print(plain.dumps(rows, indent=2, ensure_ascii=False))
        return
    widths = {key: max(len(row[key]) for row in rows) for key in rows[0]}
    for row in [{key: key for key in rows[0]}, *rows]:
        print("  ".join(text.ljust(widths[key]) for key, text in row.items()).rstrip())
    print(f"\n{len(rows)} papers, {len(claimed.keys() & there.keys())} with claims: statescope atlas verify NUMBER")


def verify(
    paper: Annotated[Positional[str], tyro.conf.arg(metavar="PAPER")], folder: Path = RUNS, seeds: str | None = None
) -> None:
    """Measure the claims of a paper, where that has not been done yet, and compare them with what the paper says.

    Args:
        paper: its number in the atlas, such as P006; or a Python file with claims of your own.
        folder: where runs go.
        seeds: such as 0..4 or 0,2,5; each claim has its own otherwise.

    """
    from ..analyses.atlas.claim import claims_in, with_seeds
    from .seeds import parse_seeds

    chosen = None if seeds is None else parse_seeds(seeds)
    verdicts = [_measure(with_seeds(claim, chosen), folder) for claim in claims_in(paper)]
    for found in verdicts:
        _print(found)
    if any(found.verdict != "holds" for found in verdicts):
        sys.exit(FAILED)


def measure(folder: Path = RUNS / "atlas", out: Path = Path("docs/atlas.md")) -> None:
    """Measure every claim, each in a run folder of its own, and write the table of verdicts after each.

    What is measured already is not measured again, so the same command goes on where it was stopped. A claim that does not
    reproduce is a row of the table, as any other.

    Args:
        folder: where runs go.
        out: the table, as Markdown.

    """
    from ..analyses.atlas.claim import every_claim
    from ..analyses.atlas.stored import judged_claims
    from ..analyses.atlas.table import write_table
    from ..probe.errors import StatescopeError

    for claim in every_claim():
        try:
            found = _measure(claim(), folder)
            print(f"{claim.kind}: {found.verdict}", flush=True)
        except StatescopeError as error:
            print(f"{claim.kind}: {error}", file=sys.stderr, flush=True)
        write_table(folder, out)
    _tell(judged_claims(folder)[1])


COMMANDS: dict[str, Callable[..., None]] = {"list": list_papers, "verify": verify, "measure": measure}


def _measure(claim: Claim, folder: Path) -> Verdicts:
    from ..analyses.atlas.verdicts import Verdicts
    from .terminal import TerminalReporter

    with TerminalReporter() as reporter:
        found = claim.run(folder / claim.run_name, reporter).result("verdicts")
    assert isinstance(found, Verdicts)
    return found


def _stored(folder: Path) -> dict[str, str]:
    """The verdict on each paper whose claims have been measured, the weakest of them; "damaged" where one cannot be shown."""
    from ..analyses.atlas.catalogue import paper_of
    from ..analyses.atlas.measurement import Verdict, weakest
    from ..analyses.atlas.stored import DAMAGED, judged_claims

    stored, damaged = judged_claims(folder)
    _tell(damaged)
    found: dict[str, list[Verdict]] = {}
    for judged in stored.values():
        found.setdefault(judged.paper, []).append(judged.verdict)
    status: dict[str, str] = {number: weakest(own) for number, own in found.items()}
    spoilt = {one.claim for one in damaged if one.claim is not None} - stored.keys()
    return status | dict.fromkeys(filter(None, map(paper_of, spoilt)), DAMAGED)


def _tell(damaged: Sequence[Damaged]) -> None:
    """Each of the verdicts that cannot be shown, in a line."""
    for one in damaged:
        print(f"statescope: {visible(one.why)}", file=sys.stderr, flush=True)


def _print(found: Verdicts) -> None:
    """The numbers of a claim: expected, found with their interval, verdict."""
    from rich.table import Table

    from .terminal import console

    about = found.about
    console.print(f"\n{about['paper']}, {about['claim']} ({about['scope']}): {found.verdict}", markup=False, highlight=False)
    console.print(about["statement"] + "\n", markup=False, highlight=False)
    table = Table("measured", "expected", "found", f"interval, {len(about['seeds'])} seeds", "verdict")
    for row, measurement in zip(found.table.itertuples(), found.measurements, strict=True):
        table.add_row(row.what, str(measurement), f"{row.found:.4g}", f"{row.low:.4g} to {row.high:.4g}", row.verdict)
    console.print(table, markup=False)
    if about["note"]:
        console.print(about["note"], markup=False, highlight=False)
