"""P153: Mamba's selective scan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from ....kernels.diagonal_scan import diagonal_scan
from ....probe.mixers import Mamba
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.recall import SelectiveCopying
from ...studies.comparison import Comparison
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim, accuracies
from ..measurement import Scope, at_least, at_most

TOKENS, CHANNELS, STATE = 300, 16, 8


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    step = softplus(draw(2, TOKENS, CHANNELS) - 2)
    a = -torch.arange(1, STATE + 1, dtype=torch.float64).expand(CHANNELS, STATE)  # S4D-real, as the paper starts
    b, c, u = draw(2, TOKENS, STATE), draw(2, TOKENS, STATE), draw(2, TOKENS, CHANNELS)
    decay = (step[..., None] * a).exp()
    write = step[..., None] * b[:, :, None] * u[..., None]
    found = Findings()
    outputs, states = [], torch.zeros(2, CHANNELS, STATE, dtype=torch.float64)
    for t in range(TOKENS):
        states = decay[:, t] * states + write[:, t]
        outputs.append((states * c[:, t, None]).sum(-1))
    truth = torch.stack(outputs, 1)
    for implementation in ("reference", "chunked"):
        scanned = diagonal_scan(write.float(), decay.float(), implementation=implementation).output
        output = (scanned.double() * c[:, :, None]).sum(-1)
        found.numbers[f"{implementation} scan in float32 against the recurrence"] = difference(output, truth)
    found.numbers["least eigenvalue of a transition"] = float(decay.min())
    found.numbers["largest eigenvalue of a transition"] = float(decay.max())
    half = TOKENS // 2
    first = diagonal_scan(write[:, :half], decay[:, :half])
    second = diagonal_scan(write[:, half:], decay[:, half:], initial_state=first.final_state)
    whole = diagonal_scan(write, decay)
    found.numbers["scan in two parts against one"] = difference(second.final_state, whole.final_state)
    panel = "eigenvalues along a sequence"
    for n in (0, STATE // 2, STATE - 1):
        found.curves[panel, f"A = {-a[0, n]:g}"] = (list(range(60)), decay[0, :60, 0, n].tolist())
    return found


class Scan(Claim, kind="p153-scan"):
    """The equations."""

    paper, scope = "P153", Scope.IDENTITY
    statement = "The scan is the recurrence, in parts too, and every eigenvalue of a transition lies in (0, 1)."
    measurements = (
        at_most("reference scan in float32 against the recurrence", 1e-5),
        at_most("chunked scan in float32 against the recurrence", 1e-5),
        at_most("scan in two parts against one", 1e-12),
        at_least("least eigenvalue of a transition", 0.0),
        at_most("largest eigenvalue of a transition", 1.0),
    )
    panels = (Axes("eigenvalues along a sequence", "token", "exp(step A)"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)


SELECTIVE, FIXED = "selective: accuracy at length 40", "time-invariant: accuracy at length 40"


@dataclass(frozen=True)
class Copying(Claim, kind="p153-selective-copying"):
    """Selective copying."""

    training: Training = Training(steps=500, batch=32, length=40, learning_rate=5e-3)
    """of both models"""

    paper, scope = "P153", Scope.TRAINED
    statement = (
        "On selective copying a selective model is right at 95% of the places or more, and the same model whose step, B and C "
        "do not depend on the token stays far lower."
    )
    measurements = (at_least(SELECTIVE, 0.95, "accuracy"), at_most(FIXED, 0.8, "accuracy"))

    def experiment(self, seed: int, run: Run) -> Findings:
        study = Comparison(
            seed,
            name=f"{run.path.name}-models",
            names=("selective", "time-invariant"),
            mixers=(Mamba(state_size=16), Mamba(state_size=16, selective=False)),
            task=SelectiveCopying(items=4, symbols=8),
            training=self.training,
            layers=2,
            test_lengths=(40,),
        )
        accuracy = accuracies(run, study)
        return Findings({SELECTIVE: accuracy.at("selective", 40), FIXED: accuracy.at("time-invariant", 40)})
