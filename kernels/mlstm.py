"""The mLSTM: linear attention with an exponential input gate, a normaliser, and a running maximum that keeps both finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .arguments import check_shapes, check_values, finite, not_growing
from .chunk_table import Layout
from .dispatch import ImplementationRequest
from .effective_attention import effective_attention
from .linear_attention import linear_attention, with_ones
from .precision import outside_autocast, widened
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest
from .shown import with_shapes


@dataclass(frozen=True)
class MLSTMOutput(RecurrenceOutput):
    """The result of `mlstm`. Its states are [K, V + 1], scaled by e^{-m_t}; their last column is the normaliser n_t.

    max_state: [B, T, H], m_t after each token. final_max: [B, H], or [S, H] of packed sequences, after the last. Both float32
        at least, as they continue the recurrence.
    """

    max_state: Tensor
    final_max: Tensor

    __repr__ = with_shapes

    def carried(self) -> dict[str, Tensor]:
        """The state and its maximum, by the names of the arguments that continue from them."""
        return super().carried() | {"initial_max": self.final_max}

    def carried_at_taps(self) -> dict[str, Tensor]:
        """The state and its maximum behind each tap."""
        return super().carried_at_taps() | {"initial_max": self._at_taps(self.max_state)[list(self.tap_positions)]}


@outside_autocast
def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_input: Tensor,
    log_decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    initial_max: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> MLSTMOutput:
    """C_t = f_t C_{t-1} + i_t k_t v_t^T, n_t = f_t n_{t-1} + i_t k_t, o_t = C_t^T q_t / max(|n_t^T q_t|, 1).

    Beck et al. 2024 (arXiv:2405.04517), with i = e^{log_input} of any size and f = e^{log_decay} <= 1. It runs on the scaled
    state [C_t, n_t] e^{-m_t} with m_t = max(log f_t + m_{t-1}, log i_t), which is linear attention with the log-decay
    log f_t + m_{t-1} - m_t and keys e^{log i_t - m_t} k_t, both at most 1; the denominator is then max(|n^T q|, e^{-m}).

    q, k: [B, T, H, K]. v: [B, T, H, V]. log_input, log_decay: [B, T, H]. initial_state: [B, H, K, V + 1] and initial_max:
    [B, H] (for packed sequences [S, ...]), as another call returned them; zero when None.
    Taps and edits are of the scaled state. The other arguments and the errors are those of `linear_attention`.
    """
    check_shapes(
        {},
        q=(q, "B T H K"),
        k=(k, "B T H K"),
        v=(v, "B T H V"),
        log_input=(log_input, "B T H"),
        log_decay=(log_decay, "B T H"),
    )
    check_values(*finite(q=q, k=k, v=v, log_input=log_input, log_decay=log_decay), *not_growing(log_decay))
    layout = Layout.of(q.shape[0], q.shape[1], cu_seqlens, None, None)
    sequences = len(layout.starts)
    check_shapes({"S": sequences, "H": q.shape[2]}, initial_max=(initial_max, "S H"))
    start = _start(log_input, initial_max, layout)
    scaled = _stabilise(log_input, log_decay, start, layout)
    out = linear_attention(
        q,
        k * scaled.input_gate[..., None],
        with_ones(v),
        scaled.log_decay,
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
    denominator = torch.maximum(out.output[..., -1:].abs(), (-scaled.maxima).exp()[..., None])
    output = (out.output[..., :-1] / denominator).to(v.dtype)
    final_max = layout.at_ends(scaled.maxima)
    return MLSTMOutput(output, out.final_state, out.states, out.tap_positions, out.implementation, scaled.maxima, final_max)


@outside_autocast
def mlstm_effective_attention(q: Tensor, k: Tensor, log_input: Tensor, log_decay: Tensor) -> Tensor:
    """M [B, H, T, T] with o_i = sum_j M_ij v_j, from a zero state. Arguments as in `mlstm`."""
    scaled = scaled_gates(log_input, log_decay)
    scores = effective_attention(widened(q), k * scaled.input_gate[..., None], log_decay=scaled.log_decay)
    return (scores / torch.maximum(scores.sum(-1).abs(), (-scaled.maxima).exp().mT)[..., None]).to(q.dtype)


class ScaledGates(NamedTuple):
    """The gates of the scaled state: the maxima m [B, T, H], and log f_t + m_{t-1} - m_t and i_t e^{-m_t} [B, T, H], which are at
    most 0 and 1.
    """

    maxima: Tensor
    log_decay: Tensor
    input_gate: Tensor


def scaled_gates(log_input: Tensor, log_decay: Tensor, initial_max: Tensor | None = None) -> ScaledGates:
    """What the scaled state of `mlstm` follows: S_t = e^{scaled.log_decay} S_{t-1} + scaled.input_gate k_t [v_t, 1]^T.

    log_input, log_decay: [B, T, H]. initial_max: [B, H], zero when None.
    """
    layout = Layout.of(log_input.shape[0], log_input.shape[1], None, None, None)
    return _stabilise(log_input, log_decay, _start(log_input, initial_max, layout), layout)


def _start(log_input: Tensor, initial_max: Tensor | None, layout: Layout) -> Tensor:
    """The maximum before the first token [S, H]."""
    return widened(log_input.new_zeros(len(layout.starts), log_input.shape[2]) if initial_max is None else initial_max)


def _stabilise(log_input: Tensor, log_decay: Tensor, start: Tensor, layout: Layout) -> ScaledGates:
    """With F the running sum of log f, m_t = F_t + max(m_0, max_{j <= t} (log i_j - F_j)). In float64: F grows with length, and
    the rounding of a large exponent is an error of the same size in its exponential.
    """
    parts = [
        _stabilise_batch(log_input[:, span], log_decay[:, span], start[sequences[0] : sequences[-1] + 1])
        for sequences, span in layout.groups
    ]
    return ScaledGates(*(torch.cat(column, dim=1) for column in zip(*parts, strict=True)))


def _stabilise_batch(log_input: Tensor, log_decay: Tensor, start: Tensor) -> ScaledGates:
    total = log_decay.double().cumsum(1)
    first, exponent = start.double()[:, None], log_input.double()
    reached = torch.maximum(first, (exponent - total).cummax(1).values)
    before = torch.cat([first, reached[:, :-1]], dim=1)
    maxima = total + reached
    # F_t - F_{t-1} cancels against log f_t.
    found = (maxima, (before - reached).clamp(max=0), (exponent - maxima).exp())
    return ScaledGates(*(x.to(start.dtype) for x in found))
