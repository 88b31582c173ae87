"""Gated linear attention: a decay for each key channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .arguments import check_finite, check_range, check_shapes
from .chunked import gated_linear_attention as chunked
from .dispatch import Family, ImplementationRequest, run
from .recurrence import Edit, RecurrenceOutput, TapRequest
from .reference import gated_linear_attention as reference

FAMILY = Family("gated_linear_attention", reference.step, chunked.terms)


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

    Yang et al. 2024 (arXiv:2312.06635). HGRN2 is the case k = 1 - e^g.

    q, k: [B, T, H, K]. v: [B, T, H, V]. log_decay: [B, T, H, K], natural logarithm, <= 0.
    The other arguments, the result and the errors are those of `linear_attention`.
    """
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), v=(v, "B T H V"), log_decay=(log_decay, "B T H K"))
    check_finite(q=q, k=k, v=v, log_decay=log_decay)
    check_range("log_decay", log_decay, -math.inf, 0.0, "a decay multiplies the state by at most 1")
    return run(
        FAMILY,
        (q, k, v, log_decay),
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        chunk=chunk,
    )
