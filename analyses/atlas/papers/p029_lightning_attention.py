"""P029: Lightning Attention-2."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ....kernels.fixed_decay import lightning_log_decay
from ....kernels.linear_attention import linear_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

LENGTHS = (1024, 2048, 4096, 8192, 16384)
HEADS, SIZE = 4, 32


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    found = Findings()
    for length in (1, 63, 100, 200):
        outputs, gradients = _agreement(draw, length)
        found.numbers[f"{length} tokens: output against the quadratic form"] = outputs
        found.numbers[f"{length} tokens: gradients against the quadratic form"] = gradients
    _time(draw, found)
    return found


def _tokens(draw: Draw, length: int) -> list[Tensor]:
    return [draw(1, length, HEADS, SIZE) for _ in range(3)]


def _decay(length: int, like: Tensor) -> Tensor:
    return lightning_log_decay(HEADS).to(like).expand(1, length, HEADS)


def _quadratic(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """((Q K^T) * decay mask) V."""
    order = torch.arange(q.shape[1])
    slopes = lightning_log_decay(HEADS).to(q)
    distance = (order[:, None] - order).to(q)
    mask = torch.where(distance >= 0, (slopes[:, None, None] * distance.clamp(min=0)).exp(), 0)
    return torch.einsum("bhij,bjhv->bihv", torch.einsum("bihk,bjhk->bhij", q, k) * mask, v)


def _chunked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return linear_attention(q, k, v, _decay(q.shape[1], q)).output


def _softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)


def _agreement(draw: Draw, length: int) -> tuple[float, float]:
    """Of the chunked float32 output and gradients with the quadratic form in float64."""
    wide = [x.requires_grad_() for x in _tokens(draw, length)]
    truth = _quadratic(*wide)
    q, k, v = narrow = [x.detach().float().requires_grad_() for x in wide]
    found = _chunked(q, k, v)
    weights = draw(*truth.shape)
    exact = torch.autograd.grad((truth * weights).sum(), wide)
    own = torch.autograd.grad((found * weights.float()).sum(), narrow)
    return difference(found, truth), max(difference(one, other) for one, other in zip(own, exact, strict=True))


@torch.no_grad()
def _time(draw: Draw, found: Findings) -> None:
    """Time a token, the shortest of a few runs; lengths in turn, so that a drift of the machine falls on all."""
    tokens = {length: [x.float() for x in _tokens(draw, length)] for length in LENGTHS}
    calls: dict[str, Callable[[int], object]] = {
        "chunked": lambda length: _chunked(*tokens[length]),
        "softmax attention": lambda length: _softmax(*tokens[length]),
    }
    panel = "time a token"
    for name, call in calls.items():
        seconds: dict[int, list[float]] = {length: [] for length in LENGTHS}
        for _ in range(5):
            for length in LENGTHS:
                begin = time.perf_counter()
                call(length)
                seconds[length].append(time.perf_counter() - begin)
        each = [1e6 * statistics.median(seconds[length][1:]) / length for length in LENGTHS]
        found.curves[panel, name] = (LENGTHS, each)
        found.numbers[f"{name}: time a token, 16K over 1K"] = each[-1] / each[0]
    found.axes[panel] = Axes("tokens", "microseconds a token", x_log=True, y_log=True)


class Blocks(Claim, kind="p029-blocks"):
    """The equations."""

    paper, scope = "P029", Scope.IDENTITY
    statement = (
        "The blocked form equals the masked quadratic one in value and gradient at any length, and its time a "
        "token does not grow with length, where softmax attention's does."
    )
    measurements = (
        *(at_most(f"{n} tokens: output against the quadratic form", 1e-4) for n in (1, 63, 100, 200)),
        *(at_most(f"{n} tokens: gradients against the quadratic form", 1e-4) for n in (1, 63, 100, 200)),
        at_most("chunked: time a token, 16K over 1K", 1.2),
        at_least("softmax attention: time a token, 16K over 1K", 4.0),
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
