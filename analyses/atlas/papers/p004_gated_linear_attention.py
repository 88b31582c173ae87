"""P004: gated linear attention."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.effective_attention import effective_attention
from ....kernels.gated_linear_attention import gated_linear_attention
from ....kernels.linear_attention import linear_attention
from ....probe.mixers import RetNet
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_least, at_most

TOKENS, SIZE, CHUNK, HEADS = 128, 16, 64, 2
STRENGTHS = (0.1, 0.6, 1.3, 2.0, 5.0)

CHUNKED = "chunked in float32 against token loop, gates sigma(x)^(1/16)"
QUADRATIC = "quadratic form against token loop"
STRONG = "log a = -5, chunk 64: relative error in float32"
BROKEN = "log a = -5: share of outputs that are not finite, q e^c and k e^-c"
UNGATED = "gate 1 against linear attention"
RETNET = "constant gates 1 - 2^(-5 - h) against the RetNet mixer"
ERRORS = Axes("float32 error at chunk 64", "-log a a token", "relative error", y_log=True)


class Forms(Claim, kind="p004-forms"):
    """The forms of the recurrence, and their range."""

    paper, scope = "P004", Scope.IDENTITY
    statement = (
        "All forms agree; with strong gates the form that divides them out of the keys overflows in float32 and the sub-chunked "
        "one stays right; gate 1 is linear attention and a constant gate RetNet."
    )
    measurements = (
        at_most(CHUNKED, 1e-4),
        at_most(QUADRATIC, 1e-10),
        at_most(STRONG, 1e-4),
        at_least(BROKEN, 0.5),
        at_most(UNGATED, 1e-12),
        at_most(RETNET, 1e-6),
    )
    panels = (ERRORS,)
    note = "The speed of its Triton kernels is not measured here."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        q, k, v = (draw(2, TOKENS, HEADS, SIZE) for _ in range(3))
        gate = draw(2, TOKENS, HEADS, SIZE).sigmoid().log() / 16
        loop = gated_linear_attention(q, k, v, gate, implementation="reference").output
        ungated = gated_linear_attention(q, k, v, torch.zeros_like(gate)).output
        found = Findings(
            {
                CHUNKED: agreement(gated_linear_attention, (q, k, v, gate)),
                QUADRATIC: difference(_mix(effective_attention(q, k, log_decay=gate), v), loop),
                UNGATED: difference(ungated, linear_attention(q, k, v).output),
                RETNET: _against_retnet(seed),
            }
        )
        ours, divided = zip(*(_errors(q, k, v, torch.full_like(gate, -strength)) for strength in STRENGTHS), strict=True)
        found.curves[ERRORS.title, "sub-chunked"] = (STRENGTHS, ours)
        found.curves[ERRORS.title, "q e^c, k e^-c"] = (STRENGTHS, [error for error, _ in divided])
        found.numbers |= {STRONG: ours[-1], BROKEN: divided[-1][1]}
        return found


def _against_retnet(seed: int) -> float:
    """The read-out of the mixer, and that of a gate of every channel of head h at RetNet's equation 8."""
    own = observed(small_model(RetNet(heads=HEADS), seed), drawn_tokens(seed, 60), "q", "k", "v", "recurrence_out")
    gate = torch.log(1 - 2.0 ** (-5.0 - torch.arange(HEADS, dtype=torch.float64)))
    gates = gate[:, None].expand(*own["k"].shape)
    return difference(gated_linear_attention(own["q"], own["k"], own["v"], gates).output, own["recurrence_out"])


def _errors(q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> tuple[float, tuple[float, float]]:
    """The float32 error of the sub-chunked form; that of the divided form, and the share of it that is not finite."""
    exact = gated_linear_attention(q, k, v, gate, implementation="reference").output
    divided = _divided_form(*(x.float() for x in (q, k, v, gate)))
    broken = float((~divided.isfinite()).double().mean())
    return (
        agreement(gated_linear_attention, (q, k, v, gate), chunk=CHUNK),
        (min(difference(divided.nan_to_num(0.0, 0.0, 0.0), exact), 1e3), broken),
    )


def _mix(mixing: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhij,bjhv->bihv", mixing, v)


def _divided_form(q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
    """One chunk at a time with the gates divided out of the keys, as the equation reads: e^{-c} overflows."""
    outputs, state = [], torch.zeros(*q.shape[:1], q.shape[2], q.shape[3], v.shape[3], dtype=q.dtype)
    for at in range(0, q.shape[1], CHUNK):
        own = slice(at, at + CHUNK)
        c = gate[:, own].cumsum(1)
        reading, writing = q[:, own] * c.exp(), k[:, own] * (-c).exp()
        scores = torch.einsum("bihk,bjhk->bhij", reading, writing).tril()
        outputs.append(_mix(scores, v[:, own]) + torch.einsum("bihk,bhkv->bihv", reading, state))
        ahead = k[:, own] * (c[:, -1:] - c).exp()
        state = c[:, -1, :, :, None].exp() * state + torch.einsum("bjhk,bjhv->bhkv", ahead, v[:, own])
    return torch.cat(outputs, dim=1)
