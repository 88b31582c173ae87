"""P153: Mamba's selective scan."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import softplus

from ...kernels.diagonal_scan import diagonal_scan
from ...probe.mixers import Mamba
from ...probe.runs.training import Training
from ...probe.tasks.recall import SelectiveCopying
from ..studies.comparison import Comparison, accuracy
from .agreement import difference, seeded
from .claim import Claim
from .findings import Axes, Findings, PaperStudy, measured

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
    found.axes[panel] = Axes("token", "exp(step A)")
    return found


CLAIM = Claim(
    number="P153",
    paper="Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
    reference="Gu and Dao 2023, arXiv:2312.00752",
    statement="The scan is the recurrence, in parts too, and every eigenvalue of a transition lies in (0, 1).",
    study=lambda: PaperStudy(paper="P153"),
    measurements=(
        measured("reference scan in float32 against the recurrence", "at most", 1e-5),
        measured("chunked scan in float32 against the recurrence", "at most", 1e-5),
        measured("scan in two parts against one", "at most", 1e-12),
        measured("least eigenvalue of a transition", "at least", 0.0),
        measured("largest eigenvalue of a transition", "at most", 1.0),
    ),
)


def _copying() -> Comparison:
    mixers = (Mamba(state_size=16), Mamba(state_size=16, selective=False))
    return Comparison(
        name="selective-copying",
        names=("selective", "time-invariant"),
        mixers=mixers,
        task=SelectiveCopying(items=4, symbols=8),
        training=Training(steps=500, batch=32, length=40, learning_rate=5e-3),
        layers=2,
        test_lengths=(40,),
    )


TRAINED = (
    replace(
        CLAIM,
        statement="On selective copying a selective model is right at 95% of the places or more, and the same model "
        "whose step, B and C "
        "do not depend on the token stays far lower.",
        study=_copying,
        measurements=(accuracy("selective", 40, "at least", 0.95), accuracy("time-invariant", 40, "at most", 0.8)),
    ),
)
