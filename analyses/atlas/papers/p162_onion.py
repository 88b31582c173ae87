"""P162: sequences that are stored in layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...behaviour.results.sequence_edits import SEVERAL, SequenceEdits
from ...studies.findings import Findings
from ...studies.onion import OnionStudy
from ..claim import Claim, beside, fresh_seeds
from ..measurement import Scope, at_least, at_most

REPEATED = "share of sequences that are repeated as they were told"
MAGNITUDE = "share repeated with one token replaced, by a magnitude"
OTHER = "the same, by the magnitude of another position"
SWAP = "the same, by a swap of learned subspaces"
RANDOM = "the same, by a random change of the magnitude edit's length"
SEVERAL_MAGNITUDE = "share repeated with half of the tokens replaced, by magnitudes"
SEVERAL_SWAP = "the same, by swaps of learned subspaces"


@dataclass(frozen=True)
class Onion(Claim, kind="p162-onion"):
    """A GRU repeats sequences, of which stored tokens are replaced."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    study: OnionStudy = field(default_factory=lambda: OnionStudy(networks=1))
    """This study runs once for each seed."""

    paper, scope = "P162", Scope.TRAINED
    statement = (
        "A small GRU that has learned to repeat keeps its tokens along directions that all positions share, each position at "
        "a magnitude of its own: a stored token is replaced by magnitude, and by no linear subspace."
    )
    measurements = (
        at_least(REPEATED, 0.95, "share"),
        at_least(MAGNITUDE, 0.7, "share"),
        at_most(SWAP, 0.3, "share"),
        at_most(OTHER, 0.4, "share"),
        at_most(RANDOM, 0.05, "share"),
    )
    note = "Larger networks, which the paper finds to keep subspaces, and edits of pairs of tokens are not measured."

    def small(self) -> Self:
        training = Training(steps=500, batch=128, length=8, learning_rate=2e-2, checkpoint_every=500)
        return replace(self, study=replace(self.study, size=24, training=training, fit_steps=200, sequences=64))

    def experiment(self, seed: int, run: Run) -> Findings:
        edits = beside(run, replace(self.study, seed=seed)).result("sequence_edits")
        assert isinstance(edits, SequenceEdits)
        one = edits.table["position"] != SEVERAL
        single, several = (edits.table[held].groupby("edit")["exact"].mean() for held in (one, ~one))
        named = {
            REPEATED: single["nothing"],
            MAGNITUDE: single["magnitude"],
            OTHER: single["magnitude of another position"],
            SWAP: single["subspace swap"],
            RANDOM: single["random"],
            SEVERAL_MAGNITUDE: several["magnitude"],
            SEVERAL_SWAP: several["subspace swap"],
        }
        return Findings({what: float(share) for what, share in named.items()})
