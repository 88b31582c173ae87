"""The table of verdicts as Markdown, from the verdicts that runs hold. No number of it is typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...probe.files import write_text
from ...probe.runs.manifest import Manifest
from .catalogue import Paper, papers
from .claim import every_claim
from .stored import DAMAGED
from .verdicts import Verdicts, stored_verdicts

HEAD = """# The atlas: what papers claim, and what was found here

Written by `make atlas` from the verdicts that its runs hold; a claim that is not measured again keeps its row.

- **scope**: *identity*, two ways to compute one thing agree, on drawn numbers; *construction*, weights set by hand do what the
  paper says is possible; *trained*, models learn it here, at a small size.
- **seeds**: `statescope atlas verify P001 --seeds 3..7` measures on others. Those of a trained claim start at 3 where its
  settings or thresholds were tried out on seeds 0 to 2.
- **expected**: of every seed; or *on average*, of the mean over seeds, for what is learned.
- **interval**: the least and the largest value; of a mean its 95% interval (Student's t).
- **verdict**: *holds* where the whole interval does. *Does not reproduce* where a seed breaks what every seed must keep, or where
  none of a mean's interval holds; *inconclusive* where a part of it does.
- **seconds**: of the measuring. What a study had done before, for another claim or an interrupted run, is not counted again.
"""


def write_table(folder: Path, out: Path) -> None:
    """Write the verdicts in the run folders of `folder` to `out`; the file appears whole or not at all."""
    write_text(out, table_of(folder))


def table_of(folder: Path) -> str:
    """The table of the verdicts in the run folders of `folder`, with the claims and papers that have none, and the claims whose
    verdicts are not as they were written.
    """
    found, damaged = stored_verdicts(folder)
    spoilt = {one.claim for one in damaged}
    lines = [HEAD, "| paper | claim | scope | verdict | seeds | seconds |", "|---|---|---|---|---|---|"]
    for kind in sorted(found):
        verdicts, run = found[kind]
        about = verdicts.about
        row = (about["paper"], f"[{kind}](#{kind})", about["scope"], verdicts.verdict, _range(about["seeds"]), _seconds(run))
        lines.append("| " + " | ".join(map(str, row)) + " |")
    left = [claim for claim in every_claim() if claim.kind not in found]
    status = {claim.kind: DAMAGED if claim.kind in spoilt else "not measured yet" for claim in left}
    lines += [f"| {claim.paper} | {claim.kind} | {claim.scope} | {status[claim.kind]} | | |" for claim in left]
    for kind in sorted(found):
        lines += ["", *_section(kind, found[kind][0])]
    absent = [paper for paper in papers().values() if not paper.has_claims]
    lines += ["", f"## absent: {len(absent)} papers whose claims nothing here measures", ""]
    lines += ["| paper | name | set | room |", "|---|---|---|---|"]
    lines += [f"| {paper.number} | {_cell(paper.name)} | {paper.set} | {paper.room} |" for paper in absent]
    return "\n".join(lines) + "\n"


def _section(kind: str, verdicts: Verdicts) -> list[str]:
    about = verdicts.about
    lines = [f"## {kind}", "", f"{_named(papers().get(about['paper']), about['paper'])}. {about['statement']}", ""]
    lines += ["| measured | unit | expected | found | interval | verdict |", "|---|---|---|---|---|---|"]
    for row, measurement in zip(verdicts.table.itertuples(), verdicts.measurements, strict=True):
        interval = f"{row.low:.4g} to {row.high:.4g}"
        lines.append(f"| {_cell(row.what)} | {row.unit} | {measurement} | {row.found:.4g} | {interval} | {row.verdict} |")
    return lines + (["", about["note"]] if about["note"] else [])


def _named(paper: Paper | None, number: str) -> str:
    return number if paper is None else f"*{paper.title}* ({paper.reference})" if paper.arxiv else f"*{paper.title}*"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _range(seeds: Sequence[int]) -> str:
    """As the command line takes them."""
    first, last = seeds[0], seeds[-1]
    return f"{first}..{last}" if list(seeds) == list(range(first, last + 1)) else ",".join(map(str, seeds))


def _seconds(run: Path) -> str:
    """What the claim's run took, and the studies that it ran beside it."""
    stages = Manifest.read(run).seconds  # all that a claim does is an analysis
    return f"{sum(seconds for name, seconds in stages.items() if name.startswith('analysis: ')):.0f}"
