"""P155: BASED, second-order features and a short window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch

from ....kernels.effective_attention import effective_attention
from ....kernels.linear_attention import linear_attention
from ....probe.mixers import Attention, LinearAttention, MixerConfig
from ....probe.mixers.feature_maps import feature_size, taylor
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.recall import AssociativeRecall
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most
from ..trained import accuracies_of

TOKENS, SIZE = 150, 8

FEATURES = "phi(q) . phi(k) in float32 against 1 + s + s^2 / 2"
QUADRATIC = "{} in float32 against the quadratic form"
LEAST = "least weight of its mixing matrix"
SCORES = Axes("a score s becomes", "s", "weight before normalising", y_log=True)


class Taylor(Claim, kind="p155-taylor"):
    """The Taylor features are compared with the polynomial that they stand for."""

    paper, scope = "P155", Scope.IDENTITY
    statement = "Taylor features give 1 + s + s^2 / 2, which is never negative; chunked, recurrent and quadratic forms agree."
    measurements = (
        at_most(FEATURES, 1e-6),
        *(at_most(QUADRATIC.format(name), 1e-4) for name in ("reference", "chunked")),
        at_least(LEAST, 0.0, "weight"),
    )
    panels = (SCORES,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        q, k, v = draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, 16)
        s = torch.einsum("bihk,bjhk->bhij", q, k) / SIZE**0.5
        scores = 1 + s + s.square() / 2
        found = Findings()
        found.numbers[FEATURES] = difference(torch.einsum("bihk,bjhk->bhij", taylor(q.float()), taylor(k.float())), scores)
        weights = scores.tril()
        quadratic = torch.einsum("bhij,bjhv->bihv", weights / weights.sum(-1, keepdim=True), v)
        for name in ("reference", "chunked"):
            inputs = (taylor(q.float()), taylor(k.float()), v.float())
            output = linear_attention(*inputs, normalise=True, implementation=name).output
            found.numbers[QUADRATIC.format(name)] = difference(output, quadratic)
        found.numbers[LEAST] = float(effective_attention(taylor(q), taylor(k), normalise=True).min())
        line = torch.linspace(-4, 4, 81, dtype=torch.float64)
        one = torch.ones(81, 1, dtype=torch.float64)
        found.curves[SCORES.title, "phi . phi"] = (line.tolist(), (taylor(one) * taylor(line[:, None])).sum(-1).tolist())
        found.curves[SCORES.title, "e^s"] = (line.tolist(), line.exp().tolist())
        return found


SIZES = (1, 2, 4)
RECALLED = "{}: share recalled"
TWO_LINEAR, TWO_WINDOWS, BOTH = "two linear layers", "two layers of a short window", "a window and a linear layer"
STEP = "least rise of the share recalled from a state to the next larger"
IN_ALL = "rise of the share recalled from the least state to the largest"
DOMINATES = "share recalled, both less the better half alone"
MEMORY = Axes("recall against memory", "features of a head", "share recalled", x_log=True)


@dataclass(frozen=True)
class Recall(Claim, kind="p155-recall"):
    """Models are trained on associative recall with states of different sizes."""

    seeds: tuple[int, ...] = (6, 7, 8, 9, 10)
    """The settings were tried out on seeds 0 to 2, and seeds 3 to 5 told how many are needed; none of them is counted."""
    training: Training = Training(steps=2000, batch=32, length=12, learning_rate=5e-3)
    """Each model is trained with these settings."""
    pairs: int = 4
    """The model is shown this many pairs of a key and a value, and has to recall the values."""
    symbols: int = 16
    """Keys are drawn from this many symbols, and values from as many others."""
    window: int = 4
    """Softmax attention sees this many of the last tokens."""

    paper, scope = "P155", Scope.TRAINED
    statement = (
        "Trained on associative recall, linear attention with Taylor features recalls the more the larger its state; a layer of "
        "attention in a short window and one of linear attention recall more than two of either."
    )
    measurements = (at_least(STEP, 0.0), at_least(IN_ALL, 0.1), at_least(DOMINATES, 0.0))
    panels = (MEMORY,)
    note = "Generation throughput is not measured."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=120, length=9, learning_rate=1e-2), pairs=3, symbols=8)

    def experiment(self, seed: int, run: Run) -> Findings:
        window, linear = Attention(heads=1, key_size=16, value_size=16, window=self.window), _linear(4)
        mixers: dict[str, MixerConfig | tuple[MixerConfig, ...]] = {
            **{f"{size} channels": _linear(size, short_convolution=4) for size in SIZES},
            TWO_LINEAR: (linear, linear),
            TWO_WINDOWS: (window, window),
            BOTH: (window, linear),
        }
        task = AssociativeRecall(pairs=self.pairs, symbols=self.symbols)
        recalled = accuracies_of(run, seed, mixers, task, self.training, width=32)
        found = Findings({RECALLED.format(name): share for name, share in recalled.items()})
        by_size = [recalled[f"{size} channels"] for size in SIZES]
        found.numbers[STEP] = min(later - earlier for earlier, later in pairwise(by_size))
        found.numbers[IN_ALL] = by_size[-1] - by_size[0]
        found.numbers[DOMINATES] = recalled[BOTH] - max(recalled[TWO_LINEAR], recalled[TWO_WINDOWS])
        found.curves[MEMORY.title, "Taylor features"] = ([feature_size("taylor", size) for size in SIZES], by_size)
        return found


def _linear(size: int, short_convolution: int = 0) -> LinearAttention:
    return LinearAttention(heads=1, key_size=size, value_size=16, short_convolution=short_convolution, feature_map="taylor")
