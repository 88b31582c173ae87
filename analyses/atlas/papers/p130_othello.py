"""P130: the board in a model of Othello."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...studies.findings import Findings
from ...studies.othello import OthelloStudy
from ...studies.results.othello import BoardEdits, BoardFrames
from ..claim import Claim, beside, fresh_seeds
from ..measurement import Scope, at_least

AHEAD = "colours of taken squares read right, mine and yours less black and white, the best layer of each"
READ = "colours of taken squares read right, mine and yours, less the majority"
ALL = "squares read right, taken or not, mine and yours less black and white"
EDITED = "errors a position, no edit less a step along the probe"
RANDOM = "errors a position, the same step in a random direction less along the probe"


@dataclass(frozen=True)
class Board(Claim, kind="p130-board"):
    """A model of games on a board of 6 x 6 is probed, and a square turned over inside it."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    study: OthelloStudy = field(
        default_factory=lambda: OthelloStudy(
            training=Training(steps=3000, batch=64, length=16, learning_rate=4e-3), edited=300, strengths=(1.0,)
        )
    )
    """This study runs once for each seed."""

    paper, scope = "P130", Scope.TRAINED
    statement = (
        "A linear probe reads the board as mine and yours better than as black and white, and a step along its directions "
        "makes the model play by a board on which a square is turned over."
    )
    measurements = (
        at_least(AHEAD, 0.15, "share"),
        at_least(READ, 0.15, "share"),
        at_least(EDITED, 0.0, "errors"),
        at_least(RANDOM, 0.0, "errors"),
    )
    note = (
        "Accuracies are of the squares that are taken, where alone the two frames differ. With three seeds, and colours read by "
        "the probes of all three values, the first number was 0.21 [0.11, 0.30]; the models of these seeds are judged again here."
    )

    def small(self) -> Self:
        training = replace(self.study.training, steps=1000, batch=24, length=14, learning_rate=6e-3)
        return replace(self, study=replace(self.study, training=training, layers=3, games=120, edited=150, strengths=(0.5,)))

    def experiment(self, seed: int, run: Run) -> Findings:
        done = beside(run, replace(self.study, seed=seed))
        frames, edits = done.result("board_frames"), done.result("board_edits")
        assert isinstance(frames, BoardFrames) and isinstance(edits, BoardEdits)
        best = {frame: own.loc[own["colour"].idxmax()] for frame, own in frames.table.groupby("frame")}
        mine, black = best["mine and yours"], best["black and white"]
        found = Findings({AHEAD: float(mine["colour"] - black["colour"]), READ: float(mine["colour"] - mine["colour_majority"])})
        found.put(ALL, float(mine["accuracy"] - black["accuracy"]), "share")
        errors = {edit: own["errors"] for edit, own in edits.table.groupby("edit")}
        (probe,), (none,), (random,) = (errors[edit] for edit in ("probe", "none", "random"))
        found.numbers |= {EDITED: float(none - probe), RANDOM: float(random - probe)}
        return found
