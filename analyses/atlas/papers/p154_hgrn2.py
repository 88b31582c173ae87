"""P154: HGRN2."""

from __future__ import annotations

import torch

from ....kernels.gated_linear_attention import gated_linear_attention
from ....kernels.operators.transition import Transition
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

TOKENS, SIZE, LAYERS = 150, 16, 6


def lower_bounds(logits: torch.Tensor) -> torch.Tensor:
    """gamma [layers, ...] from logits alike: the cumulative softmax over layers less the first's share, so gamma_0 = 0."""
    shares = logits.softmax(0)
    return shares.cumsum(0) - shares[:1]


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    gamma = lower_bounds(draw(LAYERS, SIZE))
    found = Findings()
    worst, least_above, most = 0.0, 1.0, 0.0
    for layer in range(LAYERS):
        forget = gamma[layer] + (1 - gamma[layer]) * draw(1, TOKENS, 2, SIZE).sigmoid()
        value, output_gate = draw(1, TOKENS, 2, SIZE), draw(1, TOKENS, 2, SIZE)
        state, read = torch.zeros(1, 2, SIZE, SIZE, dtype=torch.float64), []
        for t in range(TOKENS):
            state = forget[:, t, :, :, None] * state + (1 - forget[:, t])[..., None] * value[:, t, :, None]
            read.append((output_gate[:, t, :, None] @ state)[..., 0, :])
        call = (output_gate, 1 - forget, value, forget.log())
        worst = max(worst, difference(gated_linear_attention(*(x.float() for x in call)).output, torch.stack(read, 1)))
        eigenvalues = Transition.diagonal_only(forget.log(), SIZE).eigenvalues().real
        least_above = min(least_above, float((eigenvalues - gamma[layer].sort().values[0]).min()))
        most = max(most, float(eigenvalues.max()))
    found.numbers["gated linear attention with k = 1 - f in float32 against the recurrence"] = worst
    found.numbers["least eigenvalue above the least lower bound of its layer"] = least_above
    found.numbers["largest eigenvalue"] = most
    found.numbers["least step of a lower bound from a layer to the next"] = float((gamma[1:] - gamma[:-1]).min())
    found.numbers["lower bound of the first layer"] = float(gamma[0].abs().max())
    for channel in range(4):
        found.curves["lower bounds", f"channel {channel}"] = (list(range(LAYERS)), gamma[:, channel].tolist())
    return found


class Bounds(Claim, kind="p154-bounds"):
    """The equations."""

    paper, scope = "P154", Scope.IDENTITY
    statement = (
        "HGRN2 is gated linear attention with k = 1 - f; the eigenvalues of its transitions lie in [gamma, 1), and "
        "the lower bounds gamma rise with depth from 0."
    )
    measurements = (
        at_most("gated linear attention with k = 1 - f in float32 against the recurrence", 1e-5),
        at_least("least eigenvalue above the least lower bound of its layer", 0.0),
        at_most("largest eigenvalue", 1.0),
        at_least("least step of a lower bound from a layer to the next", 0.0),
        equals("lower bound of the first layer", 0.0, 1e-15),
    )
    panels = (Axes("lower bounds", "layer", "lower bound of the forget gate"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
