"""P154: HGRN2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from ....kernels.gated_linear_attention import gated_linear_attention
from ....probe.mixers import HGRN2
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.recall import AssociativeRecall
from ...studies.findings import Axes, Findings
from ..agreement import difference
from ..claim import Claim, fresh_seeds
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_least, at_most, equals
from ..trained import accuracies_of

TOKENS, LAYERS = 150, 6

OUTPUT = "the mixer in float64 against gated linear attention with k = 1 - f in float32"
TIED = "keys of the mixer against 1 - f"
LEAST = "least eigenvalue of a layer above its lower bound"
LARGEST = "largest eigenvalue"
RISE = "least rise of the least eigenvalue from a layer to the next"
FIRST = "lower bound of the first layer"
BOUNDS = Axes("eigenvalues of the transitions by layer", "layer", "least and largest")


class Bounds(Claim, kind="p154-bounds"):
    """The forget gate and its bound."""

    paper, scope = "P154", Scope.IDENTITY
    statement = (
        "HGRN2 is gated linear attention with k = 1 - f; the eigenvalues of its transitions lie in [gamma, 1), and the lower "
        "bounds gamma rise with depth from 0."
    )
    measurements = (
        at_most(OUTPUT, 1e-5),
        at_most(TIED, 1e-10),
        at_least(LEAST, 0.0, "eigenvalue"),
        at_most(LARGEST, 1 - 1e-9, "eigenvalue"),
        at_least(RISE, 1e-3, "eigenvalue"),
        equals(FIRST, 0.0, unit="eigenvalue"),
    )
    panels = (BOUNDS,)
    note = "The bounds are not learned: they stand where equal logits put the paper's cumulative softmax, at layer / layers."

    def experiment(self, seed: int, run: Run) -> Findings:
        model, tokens = small_model(HGRN2(heads=2), seed, layers=LAYERS), drawn_tokens(seed, TOKENS)
        worst = tied = 0.0
        least, largest, bounds = [], [], []
        for layer in range(LAYERS):
            own = observed(model, tokens, "q", "k", "v", "log_decay", "transition", "recurrence_out", layer=layer)
            call = (own[name].float() for name in ("q", "k", "v", "log_decay"))
            worst = max(worst, difference(gated_linear_attention(*call).output, own["recurrence_out"]))
            eigenvalues = own["transition"].eigenvalues().real
            tied = max(tied, difference(own["k"], 1 - own["transition"].dense().diagonal(dim1=-2, dim2=-1)))
            least.append(float(eigenvalues.min()))
            largest.append(float(eigenvalues.max()))
            bounds.append(layer / LAYERS)
        found = Findings({OUTPUT: worst, TIED: tied, LARGEST: max(largest), FIRST: float(model.mixer(0).lower_bound)})
        found.numbers[LEAST] = min(one - bound for one, bound in zip(least, bounds, strict=True))
        found.numbers[RISE] = min(later - earlier for earlier, later in pairwise(least))
        for name, values in (("least", least), ("largest", largest), ("lower bound", bounds)):
            found.curves[BOUNDS.title, name] = (list(range(LAYERS)), values)
        return found


SIZES = (2, 4, 8)
RECALLED = "share recalled with an expansion of {}"
STEP = "least rise of the share recalled from an expansion to the next"
IN_ALL = "rise of the share recalled from the least expansion to the largest"


@dataclass(frozen=True)
class Expansion(Claim, kind="p154-expansion"):
    """Models whose states are expanded by different factors are compared."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = Training(steps=600, batch=32, length=12, learning_rate=1e-2)
    """Each model is trained with these settings."""
    pairs: int = 4
    """The model is shown this many pairs of a key and a value, and has to recall the values."""
    symbols: int = 16
    """Keys are drawn from this many symbols, and values from as many others."""

    paper, scope = "P154", Scope.TRAINED
    statement = "Trained on associative recall, HGRN2 recalls the more the further its state is expanded, d_k = 2, 4, 8."
    measurements = (at_least(STEP, 0.0), at_least(IN_ALL, 0.1))
    note = "The vector state of HGRN, its predecessor, is not built."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=250), symbols=8)

    def experiment(self, seed: int, run: Run) -> Findings:
        mixers = {f"d_k = {size}": HGRN2(heads=1, key_size=size, value_size=16, short_convolution=4) for size in SIZES}
        task = AssociativeRecall(pairs=self.pairs, symbols=self.symbols)
        shares = list(accuracies_of(run, seed, mixers, task, self.training, width=32).values())
        found = Findings({RECALLED.format(size): share for size, share in zip(SIZES, shares, strict=True)})
        rises = [later - earlier for earlier, later in pairwise(shares)]
        found.numbers |= {STEP: min(rises), IN_ALL: shares[-1] - shares[0]}
        return found
