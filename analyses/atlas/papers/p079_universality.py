"""P079: what a diagonal linear recurrence keeps of its inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.diagonal_scan import diagonal_scan
from ....kernels.operators.linear_system import LinearSystem
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ...time_invariant.past_recovery import memory_curve, past_condition
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

STATES, FEW = 32, 10  # real numbers in a state; real poles, of which no more can be told apart

CIRCLE = "condition of the map from 32 inputs to the state, poles on the unit circle"
RING = "condition of the map from 32 inputs to the state, poles of modulus 0.95"
LINE = f"condition of the map from {FEW} inputs to the state, real poles in [0.5, 0.99]"
RECOVERED = "error of 32 inputs read back from the scan's last state, poles of modulus 0.95"
CAPACITY = "inputs' worth of variance that the state holds, poles of modulus 0.9"
CURVE = Axes("share of an input that the state holds", "tokens back", "share")


class Reconstruction(Claim, kind="p079-reconstruction"):
    """The whole input is read back from the last state of a diagonal recurrence, and how well depends on where its poles lie."""

    paper, scope = "P079", Scope.CONSTRUCTION
    statement = (
        "A state of N numbers with distinct poles holds N inputs, which are read back from it by inverting a Vandermonde matrix. "
        "Its condition is 1 for poles spread on the unit circle, r^(1 - N) on one of radius r, and beyond use for real poles."
    )
    measurements = (
        equals(CIRCLE, 1.0, 1e-6, "condition"),
        equals(RING, 0.95 ** (1 - STATES), 1e-6, "condition"),
        at_least(LINE, 1e9, "condition"),
        at_most(RECOVERED, 1e-10),
        equals(CAPACITY, STATES, 1e-6, "inputs"),
    )
    panels = (CURVE,)
    note = "The non-linear read-out of the theorem, and sparse inputs, are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        for what, radius in ((CIRCLE, 1 - 1e-12), (RING, 0.95)):
            found.numbers[what] = float(past_condition(ring(radius), STATES)[0, -1])
        real = torch.linspace(0.5, 0.99, FEW, dtype=torch.float64)
        ones = torch.ones(1, FEW, 1, dtype=torch.float64)
        found.numbers[LINE] = float(past_condition(LinearSystem(torch.diag_embed(real[None]), ones, ones.mT), FEW)[0, -1])
        found.numbers[RECOVERED] = _read_back(seeded(seed)(STATES))
        curve = memory_curve(ring(0.9), 600, 0.0)[0]
        found.numbers[CAPACITY] = float(curve.sum())
        for radius in (0.5, 0.9, 0.99):
            shares = memory_curve(ring(radius), 2 * STATES, 1e-12)[0]
            found.curves[CURVE.title, f"poles of modulus {radius}"] = (list(range(len(shares))), shares.tolist())
        return found


def ring(radius: float) -> LinearSystem:
    """A system of 32 real states whose poles are spread around a circle."""
    ones = torch.ones(1, STATES // 2, 1, dtype=torch.complex128)
    return LinearSystem.of_diagonal(_poles(radius)[None], ones, ones.mT)


def _poles(radius: float) -> Tensor:
    """Half of them, those with a positive imaginary part: [16] complex."""
    return radius * torch.exp(2j * torch.pi * (torch.arange(STATES // 2, dtype=torch.float64) + 0.5) / STATES)


def _read_back(u: Tensor) -> float:
    """From the state that the package's scan ends in, by the inverse of the map that the system says."""
    drive = u[None, :, None, None].to(torch.complex128).expand(-1, -1, 1, STATES // 2)
    last = diagonal_scan(drive, _poles(0.95)[None]).final_state[0, 0]
    columns = ring(0.95).krylov(STATES)[0, :, :, 0].mT  # one for each lag
    inputs = torch.linalg.solve(columns, torch.cat([last.real, last.imag])).flip(0)
    return difference(inputs, u)
