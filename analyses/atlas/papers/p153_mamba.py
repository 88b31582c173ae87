"""P153: Mamba's selective scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from ....kernels.diagonal_scan import diagonal_scan
from ....probe.mixers import Mamba
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.recall import SelectiveCopying
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim, fresh_seeds
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_least, at_most
from ..trained import accuracies_of

TOKENS, CHANNELS, STATE_SIZE = 300, 16, 8

SCANNED = "{} scan in float32 against the recurrence"
PARTS = "scan in two parts against one"
MIXER = "the mixer's output against the paper's equations on its parameters"
LEAST, LARGEST = "least eigenvalue of a transition of the mixer", "largest eigenvalue of a transition of the mixer"
ALONG = Axes("eigenvalues along a sequence", "token", "exp(step A)")


class Scan(Claim, kind="p153-scan"):
    """The selective scan is compared with the recurrence."""

    paper, scope = "P153", Scope.IDENTITY
    statement = (
        "The scan is the recurrence, in parts too; the mixer is the paper's equations, and every eigenvalue of its transitions "
        "lies in (0, 1)."
    )
    measurements = (
        *(at_most(SCANNED.format(name), 1e-5) for name in ("reference", "chunked")),
        at_most(PARTS, 1e-12),
        at_most(MIXER, 1e-10),
        at_least(LEAST, 1e-12, "eigenvalue"),
        at_most(LARGEST, 1 - 1e-12, "eigenvalue"),
    )
    panels = (ALONG,)
    note = "Its throughput on a GPU is not measured here."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        decay, write = draw(2, TOKENS, CHANNELS, STATE_SIZE).sigmoid(), draw(2, TOKENS, CHANNELS, STATE_SIZE)
        looped, states = [], torch.zeros(2, CHANNELS, STATE_SIZE, dtype=torch.float64)
        for t in range(TOKENS):
            states = decay[:, t] * states + write[:, t]
            looped.append(states)
        truth, found = torch.stack(looped, 1), Findings()
        for name in ("reference", "chunked"):
            scanned = diagonal_scan(write.float(), decay.float(), implementation=name).output
            found.numbers[SCANNED.format(name)] = difference(scanned, truth)
        half = TOKENS // 2
        first = diagonal_scan(write[:, :half], decay[:, :half])
        second = diagonal_scan(write[:, half:], decay[:, half:], initial_state=first.final_state)
        found.numbers[PARTS] = difference(second.output, diagonal_scan(write, decay).output[:, half:])
        _mixer(seed, found)
        return found


def _mixer(seed: int, found: Findings) -> None:
    """Delta = softplus(W u + b), h = e^(Delta A) h + Delta B u, y = C h + D u, z = y SiLU(gate), from the mixer's parameters."""
    model = small_model(Mamba(state_size=STATE_SIZE), seed)
    own, mixer = observed(model, drawn_tokens(seed, 60), "v", "gate", "z", "transition"), model.mixer(0)
    with torch.no_grad():
        u: Tensor = own["v"]
        step = softplus(mixer.project_step(u) + mixer.step_bias)
        b, c, a = mixer.project_k(u), mixer.project_q(u), -mixer.log_rate.exp()
        states, outputs = torch.zeros(*u[:, 0].shape, STATE_SIZE, dtype=torch.float64), []
        for t in range(u.shape[1]):
            states = (step[:, t, :, None] * a).exp() * states + (step * u)[:, t, :, None] * b[:, t, None]
            outputs.append((states * c[:, t, None]).sum(-1) + mixer.skip * u[:, t])
        expected = torch.stack(outputs, 1) * silu(own["gate"])
    eigenvalues = own["transition"].eigenvalues().real
    found.numbers |= {MIXER: difference(own["z"], expected), LEAST: float(eigenvalues.min()), LARGEST: float(eigenvalues.max())}
    for n in (0, STATE_SIZE // 2, STATE_SIZE - 1):
        moduli = own["transition"].dense()[0, :, 0, n, n].tolist()
        found.curves[ALONG.title, f"A = {float(a[0, n]):g}"] = (list(range(len(moduli))), moduli)


SELECTIVE, FIXED = "selective: share of places right", "time-invariant: share of places right"


@dataclass(frozen=True)
class Copying(Claim, kind="p153-selective-copying"):
    """Models with and without selection are trained to copy."""

    seeds: tuple[int, ...] = fresh_seeds(8)
    """These seeds are others than 0 to 2, on which the settings were tried out; their number follows from how far the first four
    of them lay apart."""
    training: Training = Training(steps=500, batch=32, length=24, learning_rate=5e-3)
    """Both models are trained with these settings."""
    items: int = 3
    """Each sequence holds this many symbols among noise, which the model has to copy in order."""
    width: int = 32
    """The residual stream has this many channels."""

    paper, scope = "P153", Scope.TRAINED
    statement = (
        "On selective copying a selective layer is right at 95% of the places or more, and the same layer whose step, B and C do "
        "not depend on the token stays far lower."
    )
    note = "Two layers learn sequences of this length without selection too, in three times as many steps."
    measurements = (at_least(SELECTIVE, 0.95, "accuracy"), at_most(FIXED, 0.8, "accuracy"))

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=320, batch=16, length=12, learning_rate=1e-2), items=2)

    def experiment(self, seed: int, run: Run) -> Findings:
        mixers = {"selective": Mamba(state_size=16), "time-invariant": Mamba(state_size=16, selective=False)}
        task = SelectiveCopying(items=self.items, symbols=8)
        found = accuracies_of(run, seed, mixers, task, self.training, width=self.width)
        return Findings({SELECTIVE: found["selective"], FIXED: found["time-invariant"]})
