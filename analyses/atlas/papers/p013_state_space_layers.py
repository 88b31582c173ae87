"""P013: linear state-space layers and their discretisations."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ....kernels.diagonal_scan import convolve, diagonal_scan
from ....probe.mixers.hippo import System, discretise, krylov, legs, legt
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, LENGTH, STEP = 8, 256, 0.05


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    found = Findings()
    for name, made in (("LegS", legs), ("LegT", legt)):
        found.numbers[f"{name}: recurrence against convolution, float32"] = _recurrence_and_convolution(draw, made)
    found.numbers["scan against convolution, diagonal, float32"] = _diagonal(draw)
    gate, x = draw(200), draw(200)
    held, euler = torch.zeros(()).double(), torch.zeros(()).double()
    worst = 0.0
    for z, u in zip(gate, x, strict=True):
        held = (1 - z.sigmoid()) * held + z.sigmoid() * u
        a, b = discretise(torch.tensor([[-1.0]]).double(), torch.ones(1).double(), float(z.exp()), "backward")
        euler = a[0, 0] * euler + b[0] * u
        worst = max(worst, abs(float(held - euler)))
    found.numbers["a sigmoid-gated unit against backward Euler of x' = -x + u, step e^z"] = worst
    left = torch.complex(-draw(4000).abs(), 3 * draw(4000))
    for rule, share in (("euler", 0.0), ("bilinear", 0.5), ("backward", 1.0)):
        mapped = (1 + (1 - share) * left) / (1 - share * left)
        found.numbers[f"{rule}: largest modulus of a mapped left half-plane"] = float(mapped.abs().max())
    angles = torch.linspace(-10, 10, 81, dtype=torch.float64)
    line = torch.complex(torch.full_like(angles, -0.1), angles)
    for rule, share in (("euler", 0.0), ("bilinear", 0.5), ("backward", 1.0)):
        modulus = ((1 + (1 - share) * line) / (1 - share * line)).abs()
        found.curves["where discretisation puts -0.1 + i w", rule] = (angles.tolist(), modulus.tolist())
    return found


def _recurrence_and_convolution(draw: Draw, made: Callable[[int], System]) -> float:
    a, b = discretise(*made(SIZE), STEP)
    c, u = draw(SIZE), draw(LENGTH).float()
    kernel = krylov(a, b, c, LENGTH).float()
    spectrum = torch.fft.rfft(kernel, 2 * LENGTH) * torch.fft.rfft(u, 2 * LENGTH)
    convolved = torch.fft.irfft(spectrum, 2 * LENGTH)[:LENGTH]
    state, outputs = torch.zeros(SIZE).double(), []
    for value in u.double():
        state = a @ state + b * value
        outputs.append(c @ state)
    return difference(convolved, torch.stack(outputs))


def _diagonal(draw: Draw) -> float:
    decay = torch.polar(draw(1, SIZE).sigmoid(), draw(1, SIZE)).to(torch.complex64)
    x = draw(2, LENGTH, 1, SIZE).float()
    return difference(convolve(x, decay), diagonal_scan(x.to(torch.complex64), decay).output)


class Views(Claim, kind="p013-views"):
    """The equations."""

    paper, scope = "P013", Scope.IDENTITY
    statement = (
        "The recurrent and convolutional views agree; a gated unit is backward Euler of x' = -x + u; the bilinear "
        "transform maps the left half-plane into the unit circle, Euler's does not."
    )
    measurements = (
        at_most("LegS: recurrence against convolution, float32", 1e-4),
        at_most("LegT: recurrence against convolution, float32", 1e-4),
        at_most("scan against convolution, diagonal, float32", 1e-4),
        at_most("a sigmoid-gated unit against backward Euler of x' = -x + u, step e^z", 1e-12),
        at_most("bilinear: largest modulus of a mapped left half-plane", 1.0),
        at_most("backward: largest modulus of a mapped left half-plane", 1.0),
        at_least("euler: largest modulus of a mapped left half-plane", 1.5),
    )
    panels = (Axes("where discretisation puts -0.1 + i w", "w times step", "modulus", y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
