"""Gated linear attention: a decay for each key channel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .arguments import check_shapes, check_values, finite, group_heads, not_growing
from .chunked import bonus as bonus_terms
from .chunked import gated_linear_attention as chunked
from .dispatch import Family, ImplementationRequest, run
from .precision import outside_autocast
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest
from .reference import gated_linear_attention as reference

FAMILY = Family("gated_linear_attention", reference.step, chunked.terms)
WITH_BONUS = Family(
    "gated_linear_attention with a bonus", reference.step_with_bonus, bonus_terms.terms, read=reference.read_with_bonus
)


@outside_autocast
def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    bonus: Tensor | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

    Yang et al. 2024 (arXiv:2312.06635). HGRN2 is the case k = 1 - e^g. With a bonus u (RWKV-6, Peng et al. 2024,
    arXiv:2404.05892) a token reads before it writes, and itself through the bonus: o_t = S_{t-1}^T q_t + (q_t . u k_t) v_t;
    read-out edits are then refused.

    q, k: [B, T, H, K]. v: [B, T, H, V]. log_decay: [B, T, H, K], natural logarithm, <= 0. bonus: [H, K].
    The other arguments, the result and the errors are those of `linear_attention`.
    """
    q, k = group_heads(v, q=q, k=k)
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), v=(v, "B T H V"), log_decay=(log_decay, "B T H K"), bonus=(bonus, "H K"))
    check_values(*finite(q=q, k=k, v=v, log_decay=log_decay, bonus=bonus), *not_growing(log_decay))
    return run(
        FAMILY if bonus is None else WITH_BONUS,
        (q, k, v, log_decay) if bonus is None else (q, k, v, log_decay, bonus.expand_as(k)),
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
