"""P109: a scan that is reset where a new sequence begins."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.diagonal_scan import diagonal_scan
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_most

LENGTH, CHANNELS, STARTS = 61, 5, (0, 7, 8, 30, 55)

SEGMENTS = "{} scan with resets against each segment by itself"
LOOP = "chunked scan with resets against a loop that clears its state"
ACROSS = "largest derivative of a state by an input of an earlier segment"


class Resets(Claim, kind="p109-resets"):
    """A packed batch is scanned at once, and its sequences do not see each other."""

    paper, scope = "P109", Scope.IDENTITY
    statement = (
        "A scan with resets is the sequential loop whose state is cleared at each, and each segment run by itself; nothing "
        "crosses."
    )
    measurements = (
        *(at_most(SEGMENTS.format(name), 1e-12) for name in ("reference", "chunked")),
        at_most(LOOP, 1e-12),
        at_most(ACROSS, 0.0, "derivative"),
    )
    note = "Reinforcement learning in context is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x = torch.complex(draw(2, LENGTH, 2, CHANNELS), draw(2, LENGTH, 2, CHANNELS))
        decay = torch.polar(draw(2, LENGTH, 2, CHANNELS).sigmoid(), draw(2, LENGTH, 2, CHANNELS))
        resets = torch.zeros(2, LENGTH, dtype=torch.bool)
        resets[:, list(STARTS)] = True
        ends = (*STARTS[1:], LENGTH)
        found = Findings()
        for name in ("reference", "chunked"):
            whole = diagonal_scan(x, decay, resets=resets, implementation=name).output
            apart = [
                diagonal_scan(x[:, start:end], decay[:, start:end], implementation=name).output
                for start, end in zip(STARTS, ends, strict=True)
            ]
            found.numbers[SEGMENTS.format(name)] = difference(whole, torch.cat(apart, dim=1))
        found.numbers[LOOP] = difference(whole, _loop(x, decay, resets))
        found.numbers[ACROSS] = _across(draw)
        return found


def _loop(x: Tensor, decay: Tensor, resets: Tensor) -> Tensor:
    state, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        state = torch.where(resets[:, t, None, None], 0, state)
        state = decay[:, t] * state + x[:, t]
        states.append(state)
    return torch.stack(states, dim=1)


def _across(draw: Draw) -> float:
    """|d h_t / d x_s| at most, for s in an earlier segment than t."""
    x, decay = draw(1, 12, 1, 2), draw(1, 12, 1, 2).sigmoid()
    resets = torch.zeros(1, 12, dtype=torch.bool)
    resets[0, 5] = True
    jacobian = torch.func.jacrev(lambda inputs: diagonal_scan(inputs, decay, resets=resets).output)(x)
    return float(jacobian[0, 5:, :, :, 0, :5].abs().max())
