"""The recurrence whose transition is diagonal plus rank one: RWKV-7 and the generic form."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .arguments import check_shapes, check_values, finite, not_growing
from .chunked import diagonal_plus_low_rank as chunked
from .dispatch import Family, ImplementationRequest, run
from .precision import outside_autocast
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest
from .reference import diagonal_plus_low_rank as reference

FAMILY = Family("diagonal_plus_low_rank", reference.step, chunked.terms, solves=True, writes_a_key=2)


@outside_autocast
def diagonal_plus_low_rank(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    log_decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = (Diag(e^{g_t}) + b_t a_t^T) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

    RWKV-7 (Peng et al. 2025, arXiv:2503.14456) is the case a = kappa, b = -(alpha * kappa) with unit kappa and alpha in
    (0, 1), written there for the transposed state. Nothing here bounds the transition: a product of such matrices may grow
    even where each alone has spectral radius at most 1.

    q, k, a, b: [B, T, H, K]. v: [B, T, H, V]. log_decay: [B, T, H, K], natural logarithm, <= 0.
    The other arguments, the result and the errors are those of `linear_attention`.
    """
    tokens = {"q": q, "k": k, "a": a, "b": b, "log_decay": log_decay}
    check_shapes({}, **{name: (x, "B T H K") for name, x in tokens.items()}, v=(v, "B T H V"))
    check_values(*finite(**tokens, v=v), *not_growing(log_decay))
    return run(
        FAMILY,
        (q, k, v, a, b, log_decay),
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
