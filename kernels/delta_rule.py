"""The (gated) delta rule with one or several keys a token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .arguments import check_shapes, check_values, finite, group_heads, in_range, not_growing
from .arguments import unit_keys as are_unit
from .chunked import delta_rule as chunked
from .chunked import delta_rule_by_channel as chunked_by_channel
from .dispatch import Family, ImplementationRequest, run
from .precision import outside_autocast
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest
from .reference import delta_rule as reference

FAMILY = Family("delta_rule", reference.step, chunked.terms, one_decay=True)
BY_CHANNEL = Family("delta_rule_by_channel", reference.step, chunked_by_channel.terms, solves=True)


@outside_autocast
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    unit_keys: bool = True,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = e^{g_t} (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = S_t^T q_t.

    DeltaNet (Yang et al. 2024, arXiv:2406.06484) without decay, Gated DeltaNet (arXiv:2412.06464) with one. With n keys a
    token (DeltaProduct, arXiv:2502.10297) the token first decays the state and then applies its n updates in order; its
    transition is a product of n generalised Householder matrices. With a decay for each key channel (Kimi Delta Attention,
    arXiv:2510.26692) e^{g_t} is Diag(e^{g_t}), applied before the update.

    q: [B, T, H, K]. k: [B, T, H, K] or [B, T, H, n, K], unit vectors (or zero: a token that writes nothing).
    v: [B, T, H, V] or [B, T, H, n, V]. beta: [B, T, H] or [B, T, H, n], in [0, 2]: the transition's eigenvalue along k is
    1 - beta. log_decay: [B, T, H], or [B, T, H, K], natural logarithm, <= 0; None means no decay.
    unit_keys: False takes keys of any length (a checkpoint may normalise them only nearly); the eigenvalue along k is then
    1 - beta |k|^2, and nothing here bounds it.
    The other arguments, the result and the errors are those of `linear_attention`; keys that are not unit vectors and a
    beta outside [0, 2] are errors too.
    """
    q, k = group_heads(v, q=q, k=k)
    several = "n " if k.ndim == 5 else ""
    by_channel = log_decay is not None and log_decay.ndim == 4
    check_shapes(
        {},
        q=(q, "B T H K"),
        k=(k, f"B T H {several}K"),
        v=(v, f"B T H {several}V"),
        beta=(beta, f"B T H {several}".strip()),
        log_decay=(log_decay, "B T H K" if by_channel else "B T H"),
    )
    check_values(
        *finite(q=q, k=k, v=v, beta=beta, log_decay=log_decay),
        *not_growing(log_decay),
        *in_range("beta", beta, 0.0, 2.0, "outside it I - beta k k^T is no contraction"),
        *(are_unit(k) if unit_keys else ()),
    )
    if not several:
        k, v, beta = (x.unsqueeze(3) for x in (k, v, beta))
    return run(
        BY_CHANNEL if by_channel else FAMILY,
        (q, k, v, beta, log_decay),
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
