"""P004: gated linear attention."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.effective_attention import effective_attention
from ....kernels.fixed_decay import retnet_log_decay
from ....kernels.gated_linear_attention import gated_linear_attention
from ....kernels.linear_attention import linear_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

TOKENS, SIZE, CHUNK = 192, 16, 64


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k, v = (draw(2, TOKENS, 2, SIZE) for _ in range(3))
    gate = draw(2, TOKENS, 2, SIZE).sigmoid().log() / 16
    found = Findings()
    found.numbers["chunked against token loop, gates sigma(x)^(1/16)"] = agreement(gated_linear_attention, (q, k, v, gate))
    truth = gated_linear_attention(q, k, v, gate, implementation="reference").output
    mixing = effective_attention(q, k, log_decay=gate)
    found.numbers["quadratic form against token loop"] = difference(_mix(mixing, v), truth)
    none = torch.zeros_like(gate)
    found.numbers["gate 1 against linear attention"] = difference(
        gated_linear_attention(q, k, v, none).output, linear_attention(q, k, v).output
    )
    fixed = retnet_log_decay(2).expand(2, TOKENS, 2)
    found.numbers["constant gate against RetNet"] = difference(
        gated_linear_attention(q, k, v, fixed[..., None].expand(gate.shape)).output, linear_attention(q, k, v, fixed).output
    )
    strengths = (0.1, 0.3, 0.6, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0)
    ours, naive, broken = [], [], []
    for strength in strengths:
        strong = torch.full_like(gate, -strength)
        exact = gated_linear_attention(q, k, v, strong, implementation="reference").output
        ours.append(agreement(gated_linear_attention, (q, k, v, strong), chunk=CHUNK))
        divided = _divided_form(*(x.float() for x in (q, k, v, strong)))
        broken.append(float((~divided.isfinite()).double().mean()))
        naive.append(min(difference(divided.nan_to_num(0.0, 0.0, 0.0), exact), 1e3))
    found.numbers["log a = -5, chunk 64: relative error"] = ours[-1]
    found.numbers["log a = -5: share of outputs that are not finite, q e^c and k e^-c"] = broken[-1]
    panel = "float32 error at chunk 64"
    found.curves[panel, "sub-chunked"] = (strengths, ours)
    found.curves[panel, "q e^c, k e^-c"] = (strengths, naive)
    return found


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


class Forms(Claim, kind="p004-forms"):
    """The equations."""

    paper, scope = "P004", Scope.IDENTITY
    statement = (
        "All forms agree; with strong gates the form that divides them out of the keys overflows in float32 and "
        "the sub-chunked one stays right; gate 1 is linear attention and a constant gate RetNet."
    )
    measurements = (
        at_most("chunked against token loop, gates sigma(x)^(1/16)", 1e-4),
        at_most("quadratic form against token loop", 1e-10),
        at_most("log a = -5, chunk 64: relative error", 1e-4),
        at_least("log a = -5: share of outputs that are not finite, q e^c and k e^-c", 0.5),
        at_most("gate 1 against linear attention", 1e-12),
        at_most("constant gate against RetNet", 1e-12),
    )
    panels = (Axes("float32 error at chunk 64", "-log a a token", "relative error", y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
