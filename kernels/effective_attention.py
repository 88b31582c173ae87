"""The token-mixing matrix of a linear recurrence: output_i = sum_j M_ij v_j exactly, from a zero state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes, check_unit_keys
from .chunked import delta_rule, delta_rule_by_channel, gated_linear_attention, linear_attention


def effective_attention(q: Tensor, k: Tensor, *, beta: Tensor | None = None, log_decay: Tensor | None = None) -> Tensor:
    """M [B, H, T, T], or [B, H, T, T, n] for n keys a token, with o_i = sum_j M_ij v_j (summed over the n keys too).

    q: [B, T, H, K]. k: [B, T, H, K], or [B, T, H, n, K] for a delta rule with n keys a token.
    beta: [B, T, H] or [B, T, H, n]; given, the recurrence is the delta rule, whose erasure is one triangular solve:

        M = (Q K^T * G) (I + tril(diag(beta) K K^T * G, -1))^{-1} diag(beta),   G_ij = e^{c_i - c_j} for j <= i.

    log_decay: [B, T, H], or [B, T, H, K] for a decay by channel; None means no decay. Entries may be negative, and rows
    need not sum to 1. Memory is O(B H T^2 n).

    Raises ValueError where the shapes disagree or the keys of a delta rule are not unit vectors.
    """
    check_finite(q=q, k=k, beta=beta, log_decay=log_decay)
    length = q.shape[1]
    gate = "B T H K" if log_decay is not None and log_decay.ndim == 4 else "B T H"
    if beta is None:
        check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), log_decay=(log_decay, gate))
        family = gated_linear_attention if gate.endswith("K") else linear_attention
        return family.terms(_row(q), _row(k), _row(k), _row(log_decay)).scores[0]
    single = k.ndim == 4
    k, beta = (k[..., None, :], beta[..., None]) if single else (k, beta)
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H n K"), beta=(beta, "B T H n"), log_decay=(log_decay, gate))
    check_unit_keys(k)
    keys = k.shape[3]
    # The recurrence is linear in its values, so run on the unit values it returns its own matrix.
    units = torch.eye(length * keys, dtype=q.dtype, device=q.device).unflatten(0, (length, keys))
    family = delta_rule_by_channel if gate.endswith("K") else delta_rule
    terms = family.terms(_row(q), _row(k), units.expand(1, q.shape[0], q.shape[2], -1, -1, -1), _row(beta), _row(log_decay))
    mixing = (terms.scores @ terms.value)[0]
    return mixing if single else mixing.unflatten(-1, (length, keys))


def _row(tokens: Tensor | None) -> Any:
    """[B, T, H, ...] as one row [1, B, H, T, ...]."""
    return None if tokens is None else tokens.movedim(1, 2)[None]
