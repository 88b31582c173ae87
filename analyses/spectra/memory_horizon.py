"""How long directions of a state last: Lyapunov exponents of the products of transitions, and the half-lives that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...kernels.products import UnresolvedError, lyapunov_exponents
from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..models import Models, named_models, transitions_of

NEUTRAL = 1e-12  # nats a token: an exponent nearer to 0 neither grows nor decays


@dataclass(frozen=True)
class MemoryHorizon(Result, kind="memory_horizon"):
    """Finite-time Lyapunov exponents of each head over each sequence, fastest first."""

    title: ClassVar[str] = "Memory of the transitions"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "index": "rank of the direction, from 1: the one that grows fastest, or decays slowest",
        "exponent": "mean growth along the direction, in nats a token; -inf where some token erases it",
        "half_life": "tokens until the direction is halved; inf where it does not decay",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            first, growing = own[own["index"] == 1], (own["exponent"] > NEUTRAL).mean()
            lines.append(
                f"{model}, layer {layer}: slowest half-life {first['half_life'].min():.3g} to {first['half_life'].max():.3g} "
                f"tokens over heads and sequences, {growing:.1%} of the directions grow"
            )
        if self.about.get("unresolved"):
            lines.append(f"not all directions are resolved in float64 at {', '.join(self.about['unresolved'])}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For each model and layer the exponents and the half-lives by rank: the mean over heads and sequences, and the range."""
        exponents, lives = [], []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            name, finite = f"{model}, layer {layer}", own[np.isfinite(own["exponent"])]
            if len(finite):
                exponents.append(Line.of_rows(finite, "index", "exponent", name, markers=True))
            decays = own[np.isfinite(own["half_life"]) & (own["half_life"] > 0)]
            if len(decays):
                lives.append(Line.of_rows(decays, "index", "half_life", name, centre="median", markers=True))
        length = int(self.about["tokens"])
        return Figure(
            self.title,
            [
                Panel(exponents, "direction", "nats a token", "Lyapunov exponents", level=(0.0, "neither grows nor decays")),
                Panel(
                    lives, "direction", "half-life (tokens)", "Half-lives", y_log=True, level=(length, "the sequence's length")
                ),
            ],
            alt=f"Lyapunov exponents and half-lives of the directions of the state. {self.summary()}",
            caption="Means (medians of half-lives) over heads and sequences, with the range. Directions that never decay, or "
            "that a token erases, are not drawn.",
        )


def memory_horizon(models: Models, tokens: Tensor, *, jacobians: bool = False) -> MemoryHorizon:
    """The Lyapunov exponents lambda_1 >= lambda_2 ... of A_T ... A_1 over each sequence, and the half-lives ln 2 / -lambda.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    jacobians: take cells too, with the Jacobian d state_t / d state_{t-1} of each token in place of a transition. Their exponents
        say how a small change of the state grows or fades along these sequences.

    By QR in float64, with scalar decays kept as logarithms (see `lyapunov_exponents`); the exponents of T tokens are finite-time
    ones, of these sequences, and their sum is the mean log |det A_t|. Where directions lie further apart than float64 resolves,
    only the fastest that it does are given, and `about["unresolved"]` names where. Raises ValueError for a model without a layer
    that has a linear transition.
    """
    named, rows, unresolved = named_models(models), [], []
    for name, model in named.items():
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians):
            exponents = _resolved(transition.each(lambda part: part.movedim(1, 2)))
            if exponents.shape[-1] < transition.size:
                unresolved.append(f"{name}, layer {layer}")
            for (sequence, head, index), exponent in np.ndenumerate(exponents.numpy()):
                rows.append((name, layer, head, sequence, index + 1, exponent, half_life(exponent)))
    about = {"tokens": tokens.shape[1], "sequences": len(tokens), "models": list(named), "unresolved": unresolved}
    return MemoryHorizon(pd.DataFrame(rows, columns=list(MemoryHorizon.columns)), about)


def half_life(exponent: float) -> float:
    """Tokens until a direction of this exponent (nats a token) is halved; 0 where it is erased, inf where it does not decay."""
    return math.inf if exponent >= -NEUTRAL else math.log(2) / -exponent


def _resolved(transition: Transition) -> Tensor:
    """The exponents of transitions [B, H, T]: all, or as many of the fastest as float64 tells apart."""
    count = transition.size
    while True:
        try:
            return lyapunov_exponents(transition, count=count)
        except UnresolvedError:
            count //= 2
            if not count:
                raise
