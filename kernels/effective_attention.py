"""The token-mixing matrix of a linear recurrence: output_i = sum_j M_ij v_j exactly, from a zero state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes, check_values
from .arguments import unit_keys as are_unit
from .chunked import bonus as bonus_terms
from .chunked import delta_rule, delta_rule_by_channel, diagonal_plus_low_rank, gated_linear_attention, linear_attention
from .chunked.state_passing import ChunkTerms
from .precision import outside_autocast, widened


@outside_autocast
def effective_attention(
    q: Tensor,
    k: Tensor,
    *,
    beta: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    log_decay: Tensor | None = None,
    bonus: Tensor | None = None,
    normalise: bool = False,
    unit_keys: bool = True,
) -> Tensor:
    """M [B, H, T, T], or [B, H, T, T, n] for n keys a token, with o_i = sum_j M_ij v_j (summed over the n keys too).

    q: [B, T, H, K]. k: [B, T, H, K], or [B, T, H, n, K] for a delta rule with n keys a token.
    beta: [B, T, H] or [B, T, H, n]; given, the recurrence is the delta rule, whose erasure is one triangular solve:

        M = (Q K^T * G) (I + tril(diag(beta) K K^T * G, -1))^{-1} diag(beta),   G_ij = e^{c_i - c_j} for j <= i.

    a, b: [B, T, H, K]; given, the transition is Diag(e^g) + b a^T (`diagonal_plus_low_rank`).
    bonus: [H, K], as in `gated_linear_attention`. normalise: divide each row by its sum, as in `linear_attention`.
    unit_keys: as in `delta_rule`.
    log_decay: [B, T, H], or [B, T, H, K] for a decay by channel; None means no decay. Entries may be negative, and rows
    need not sum to 1. Memory is O(B H T^2 n). Computed in float32 at least, and returned in the dtype of q.

    Raises ValueError where the shapes disagree or the keys of a delta rule are not unit vectors.
    """
    check_finite(q=q, k=k, beta=beta, a=a, b=b, log_decay=log_decay)
    by_channel = log_decay is not None and log_decay.ndim == 4
    gate = (log_decay, "B T H K" if by_channel else "B T H")
    if a is not None or b is not None:
        check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), a=(a, "B T H K"), b=(b, "B T H K"), log_decay=(log_decay, "B T H K"))
        units = _units(q, 1).squeeze(3)
        terms = diagonal_plus_low_rank.terms(_row(q), _row(k), _row(units), _row(a), _row(b), _row(log_decay))
        return _mixing(terms).to(q.dtype)
    if beta is None:
        check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), log_decay=gate, bonus=(bonus, "H K"))
        if bonus is not None:
            terms = bonus_terms.terms(_row(q), _row(k), _row(k), _row(log_decay), _row(bonus.expand_as(k)))
            return terms.scores[0].to(q.dtype)
        family = gated_linear_attention if by_channel else linear_attention
        scores = family.terms(_row(q), _row(k), _row(k), _row(log_decay)).scores[0]
        return (scores / scores.sum(-1, keepdim=True) if normalise else scores).to(q.dtype)
    single = k.ndim == 4
    k, beta = (k[..., None, :], beta[..., None]) if single else (k, beta)
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H n K"), beta=(beta, "B T H n"), log_decay=gate)
    if unit_keys:
        check_values(*are_unit(k))
    delta = delta_rule_by_channel if by_channel else delta_rule
    mixing = _mixing(delta.terms(_row(q), _row(k), _row(_units(q, k.shape[3])), _row(beta), _row(log_decay))).to(q.dtype)
    return mixing if single else mixing.unflatten(-1, (-1, k.shape[3]))


def _units(q: Tensor, writes: int) -> Tensor:
    """The unit vectors as values [B, T, H, n, T n]: a recurrence is linear in its values, so on these it returns its matrix."""
    batch, length, heads, _ = q.shape
    units = torch.eye(length * writes, dtype=q.dtype, device=q.device).unflatten(0, (length, writes))
    return units[None, :, None].expand(batch, -1, heads, -1, -1)


def _mixing(terms: ChunkTerms) -> Tensor:
    """What one row that starts from a zero state returns."""
    return (terms.scores @ terms.value)[0]


def _row(tokens: Tensor | None) -> Any:
    """[B, T, H, ...] as one row [1, B, H, T, ...], widened."""
    return None if tokens is None else widened(tokens.movedim(1, 2)[None])
