"""P029: Lightning Attention-2."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ....kernels.linear_attention import linear_attention
from ....probe.mixers import TransNormer
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, operations, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

ALIGNED_OR_NOT = (1, 63, 100, 200)
LENGTHS = (256, 512, 1024, 2048)
HEADS, SIZE = 4, 32

OUTPUT = "{} tokens: output against the quadratic form"
GRADIENTS = "{} tokens: gradients against the quadratic form"
DECAYS = "decays of the mixer's heads against e^(-8 h / H)'s slopes"
BLOCKED = "blocked: operations a token at 2048 tokens over 256"
QUADRATIC = "quadratic: operations a token at 2048 tokens over 256"
COST = Axes("operations a token", "tokens", "multiplications and additions", x_log=True, y_log=True)


class Blocks(Claim, kind="p029-blocks"):
    """The blocked form and its cost."""

    paper, scope = "P029", Scope.IDENTITY
    statement = (
        "The blocked form equals the masked quadratic one in value and gradient at any length, with the slopes of ALiBi as its "
        "decays, and what it computes for a token does not grow with the length, where the quadratic form's does."
    )
    measurements = (
        *(at_most(OUTPUT.format(length), 1e-4) for length in ALIGNED_OR_NOT),
        *(at_most(GRADIENTS.format(length), 1e-4) for length in ALIGNED_OR_NOT),
        at_most(DECAYS, 1e-12),
        at_most(BLOCKED, 1.2, "ratio"),
        at_least(QUADRATIC, 4.0, "ratio"),
    )
    panels = (COST,)
    note = "Times a token on a GPU are not measured; operations are counted instead, which no load of the machine changes."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        log_decay = _log_decay(seed)
        slopes = 2.0 ** (-8.0 * torch.arange(1, HEADS + 1, dtype=torch.float64) / HEADS)
        found.numbers[DECAYS] = difference(-log_decay, slopes)
        for length in ALIGNED_OR_NOT:
            found.numbers[OUTPUT.format(length)], found.numbers[GRADIENTS.format(length)] = _agreement(
                draw, length, slopes, log_decay
            )
        _count(draw, log_decay, found)
        return found


def _log_decay(seed: int) -> Tensor:
    """What the package's mixer applies in its first layer, [H]."""
    model = Model(ModelConfig(vocabulary=5, width=HEADS * 8, layers=1, mixer=TransNormer(heads=HEADS), seed=seed)).double()
    _, cache = model.run_with_cache(torch.zeros(1, 3, dtype=torch.long), names_filter="blocks.0.attn.hook_log_decay")
    log_decay: Tensor = cache["log_decay", 0][0, -1]
    return log_decay.detach()


def _tokens(draw: Draw, length: int) -> tuple[Tensor, Tensor, Tensor]:
    size = (1, length, HEADS, SIZE)
    return draw(*size), draw(*size), draw(*size)


def _quadratic(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
    """((Q K^T) * D) V with D_ij = e^(-slope (i - j)) for j <= i."""
    order = torch.arange(q.shape[1])
    distance = (order[:, None] - order).to(q)
    mask = torch.where(distance >= 0, (-slopes.to(q)[:, None, None] * distance.clamp(min=0)).exp(), 0)
    return torch.einsum("bhij,bjhv->bihv", torch.einsum("bihk,bjhk->bhij", q, k) * mask, v)


def _blocked(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    return linear_attention(q, k, v, log_decay.to(q).expand(1, q.shape[1], HEADS), implementation="chunked").output


def _agreement(draw: Draw, length: int, slopes: Tensor, log_decay: Tensor) -> tuple[float, float]:
    """Of the blocked output and gradients in float32 with the quadratic form in float64."""
    q, k, v = wide = [x.requires_grad_() for x in _tokens(draw, length)]
    truth = _quadratic(q, k, v, slopes)
    q, k, v = narrow = [x.detach().float().requires_grad_() for x in wide]
    found = _blocked(q, k, v, log_decay)
    weights = draw(*truth.shape)
    exact = torch.autograd.grad((truth * weights).sum(), wide)
    own = torch.autograd.grad((found * weights.float()).sum(), narrow)
    return difference(found, truth), max(difference(one, other) for one, other in zip(own, exact, strict=True))


@torch.no_grad()
def _count(draw: Draw, log_decay: Tensor, found: Findings) -> None:
    for what, form, decay in ((BLOCKED, _blocked, log_decay), (QUADRATIC, _quadratic, -log_decay)):
        each = [operations(partial(form, *_tokens(draw, length), decay)) / length for length in LENGTHS]
        found.curves[COST.title, what.partition(":")[0]] = (LENGTHS, each)
        found.numbers[what] = each[-1] / each[0]
