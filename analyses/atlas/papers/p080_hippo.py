"""P080: HiPPO's bases."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import eval_legendre
from torch import Tensor

from ....probe.mixers.hippo import discretise, fout, legs, legs_diagonal, legt
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import difference
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE = 16
STEP = 1e-3


WARPED = "LegS: e^(tA) B against warped Legendre polynomials"
EIGENVALUES = "LegS: eigenvalues against -1 .. -N"
RECONSTRUCTED = "LegT: reconstruction error, 32 states"
IMPROVED = "LegT: reconstruction error, 32 states over 4"
HALVES = "S4D-LegS: real parts of the diagonal, largest distance from -1/2"
BEHIND = "weight of an impulse just behind the window over just inside"


def experiment(seed: int) -> Findings:
    del seed  # nothing is drawn
    found = Findings()
    a, b = legs(SIZE)
    times = torch.linspace(0, 4, 81, dtype=torch.float64)
    kernels = torch.stack([torch.linalg.matrix_exp(t * a) @ b for t in times])
    expected = torch.stack([_legs_kernel(float(t)) for t in times])
    found.numbers[WARPED] = difference(kernels, expected)
    found.numbers[EIGENVALUES] = difference(torch.diagonal(a), -torch.arange(1.0, SIZE + 1).double())
    for n in (0, 1, 2, 5):
        found.curves["LegS: what each state weighs the past with", f"n = {n}"] = (times.tolist(), kernels[:, n].tolist())
    sizes = (4, 8, 16, 32)
    errors = [_reconstruction(size) for size in sizes]
    found.curves["LegT: reconstruction of a smooth signal", "window of length 1"] = (sizes, errors)
    found.numbers[IMPROVED] = errors[-1] / errors[0]
    found.numbers[RECONSTRUCTED] = errors[-1]
    for name, made in (("LegT", legt), ("FouT", fout)):
        inside, outside = _memory(*made(32))
        found.numbers[f"{name}: {BEHIND}"] = outside / inside
    slow, late = _memory(*legs(32))
    found.numbers[f"LegS: {BEHIND}"] = late / slow
    off = float((legs_diagonal(32).real + 0.5).abs().max())
    found.numbers[HALVES] = off
    return found


def _legs_kernel(t: float) -> Tensor:
    """sqrt(2n+1) L_n(2 e^-t - 1) e^-t."""
    order = np.arange(SIZE)
    return torch.from_numpy(np.sqrt(2 * order + 1) * eval_legendre(order, 2 * np.exp(-t) - 1) * np.exp(-t))


def _memory(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Norm of the state 0.9 and 1.1 windows after an impulse."""
    return tuple(float((torch.linalg.matrix_exp(t * a) @ b).norm()) for t in (0.9, 1.1))  # type: ignore[return-value]


def _reconstruction(size: int) -> float:
    """Feed a smooth signal, and read its last window back from the final state: u(t - s) = sum_n r_n x_n L_n(1 - 2s), r the
    roots in A, for s in [0, 1].
    """
    a, b = legt(size)
    held, into = discretise(a, b, STEP, "zoh")
    times = torch.arange(0, 3, STEP, dtype=torch.float64)
    signal = (2 * torch.pi * times).sin() + 0.5 * (5 * times).cos()
    state = torch.zeros(size).double()
    for value in signal:
        state = held @ state + into * value
    back = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    basis = np.stack([eval_legendre(n, (1 - 2 * back).numpy()) for n in range(size)])
    root = (2 * torch.arange(size).double() + 1).sqrt()
    read = (root * state) @ torch.from_numpy(basis)
    wanted = (2 * torch.pi * (3 - back)).sin() + 0.5 * (5 * (3 - back)).cos()
    return difference(read, wanted)


class Bases(Claim, kind="p080-bases"):
    """LegS is compared with warped Legendre polynomials, and LegT and FouT with a finite window."""

    paper, scope = "P080", Scope.IDENTITY
    statement = (
        "LegS weighs the past with Legendre polynomials in exponentially warped time; its eigenvalues are -1 .. "
        "-N. LegT and FouT hold a finite window, which is read back the better the more states there are, and "
        "forget what lies before it."
    )
    measurements = (
        at_most(WARPED, 1e-6),
        at_most(EIGENVALUES, 1e-12),
        at_most(RECONSTRUCTED, 0.01),
        at_most(IMPROVED, 0.1),
        at_most(f"LegT: {BEHIND}", 0.3),
        at_most(f"FouT: {BEHIND}", 0.3),
        at_least(f"LegS: {BEHIND}", 0.7),
        at_most(HALVES, 1e-8),
    )
    panels = (
        Axes("LegS: what each state weighs the past with", "time back", "weight"),
        Axes("LegT: reconstruction of a smooth signal", "states", "relative error", x_log=True, y_log=True),
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
