"""Gated slot attention: a softmax over slots, each of which holds a decaying mean of keys and one of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .chunk_table import Layout
from .dispatch import ImplementationRequest
from .gated_linear_attention import gated_linear_attention
from .precision import outside_autocast, widened
from .recurrence import Edit, Precision, TapRequest
from .shown import with_shapes


@dataclass(frozen=True)
class SlotOutput:
    """output [B, T, H, V]; slots [B, T, H, M], the softmax over slots; of the memories of keys [B, H, M, K] and of values
    [B, H, M, V] the final states, and the states at the taps [B, P, H, M, .].
    """

    output: Tensor
    slots: Tensor
    final_keys: Tensor
    final_values: Tensor
    key_states: Tensor | None
    value_states: Tensor | None
    tap_positions: tuple[int, ...]
    implementation: str

    __repr__ = with_shapes

    def carried(self) -> dict[str, Tensor]:
        """The keywords with which another call goes on behind the last token."""
        return {"initial_keys": self.final_keys, "initial_values": self.final_values}

    def carried_at_taps(self) -> dict[str, Tensor]:
        """The same behind each tap of a batch of one sequence, the taps side by side: [taps, ...]. Raises ValueError without."""
        if self.key_states is None or self.value_states is None or len(self.key_states) != 1:
            raise ValueError("what is carried at taps needs taps, and a batch of one sequence")
        return {"initial_keys": self.key_states[0], "initial_values": self.value_states[0]}

    @property
    def states(self) -> Tensor | None:
        """The states that the read-out is of, those of the values."""
        return self.value_states


@outside_autocast
def gated_slot_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    write: Tensor,
    log_decay: Tensor,
    *,
    initial_keys: Tensor | None = None,
    initial_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    key_edits: Sequence[Edit] = (),
    value_edits: Sequence[Edit] = (),
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> SlotOutput:
    """K_t = Diag(e^{g_t}) K_{t-1} + w_t k_t^T, V_t = Diag(e^{g_t}) V_{t-1} + w_t v_t^T, o_t = V_t^T softmax(K_t q_t).

    Zhang et al. 2024 (arXiv:2409.07146), with M slots; there w = 1 - e^g. Two passes of gated linear attention whose key axis
    is the slots. The second reads along slots; the first is read along channels, K_t q_t, for which each row of tokens needs

        (K_t q_t)_m = e^{c_tm} (K_0 q_t)_m + sum_{j <= t} (q_t . k_j) w_jm e^{c_tm - c_jm}.

    q, k: [B, T, H, K], q scaled as wanted. v: [B, T, H, V]. write, log_decay: [B, T, H, M]. initial_keys [B, H, M, K],
    initial_values [B, H, M, V]. key_edits, value_edits: propagating edits of the two memories, whose key side is the slots;
    read-out edits are refused for the keys. The other arguments and errors are those of `gated_linear_attention`.
    """
    check_shapes(
        {}, q=(q, "B T H K"), k=(k, "B T H K"), v=(v, "B T H V"), write=(write, "B T H M"), log_decay=(log_decay, "B T H M")
    )
    check_finite(q=q, k=k)
    q, k, write = (widened(x) for x in (q, k, write))
    layout = Layout.of(q.shape[0], q.shape[1], cu_seqlens, taps, key_edits)
    if layout.readouts:
        raise ValueError("a read-out edit of the memory of keys is not defined; use verb='propagate', or edit the values")
    scan = partial(gated_linear_attention, cu_seqlens=cu_seqlens, implementation=implementation, precision=precision, chunk=chunk)
    rows = _rows(layout, q.shape[1], chunk)
    inner = [row.start for row in rows if row.start not in _entries(layout)]
    seen = sorted({start - 1 for start in inner} | set(layout.tap_positions))
    keys = scan(write, write, k, log_decay, initial_state=initial_keys, taps=seen or None, edits=key_edits)
    scores = _read_keys(q, k, write, log_decay, rows, keys.states, seen, initial_keys, layout)
    slots = scores.softmax(-1)
    values = scan(slots, write, v, log_decay, initial_state=initial_values, taps=taps, edits=value_edits)
    at_taps = [seen.index(position) for position in layout.tap_positions]
    key_states = keys.states[:, at_taps] if at_taps and keys.states is not None else None
    return SlotOutput(
        values.output,
        slots,
        keys.final_state,
        values.final_state,
        key_states,
        values.states,
        layout.tap_positions,
        values.implementation,
    )


def _entries(layout: Layout) -> dict[int, int]:
    """The first tokens of sequences on the time axis, and which sequence each is (of a batch, the first)."""
    return {span.start: sequences[0] for sequences, span in layout.groups}


def _rows(layout: Layout, length: int, chunk: int) -> list[slice]:
    """Rows of at most `chunk` tokens, cut at sequences and after each edit."""
    cuts = {layout.token(place) + 1 for place, _ in layout.propagating} | set(_entries(layout)) | {length}
    bounds, rows = sorted(cut for cut in cuts if cut <= length), []
    for first, stop in pairwise(bounds):
        rows += [slice(at, min(at + chunk, stop)) for at in range(first, stop, chunk)]
    return rows


def _read_keys(
    q: Tensor,
    k: Tensor,
    write: Tensor,
    log_decay: Tensor,
    rows: Sequence[slice],
    states: Tensor | None,
    seen: Sequence[int],
    initial: Tensor | None,
    layout: Layout,
) -> Tensor:
    """K_t q_t, [B, T, H, M], row by row from the memory at each row's start."""
    entries, read = _entries(layout), []
    for row in rows:
        queries, keys, writes = (x[:, row].transpose(1, 2) for x in (q, k, write))
        c = log_decay[:, row].transpose(1, 2).double().cumsum(2)
        order = torch.arange(c.shape[2], device=c.device)
        lag = (c[:, :, :, None] - c[:, :, None]).masked_fill((order[:, None] < order)[..., None], -torch.inf)
        own = torch.einsum("bhij,bhijm,bhjm->bhim", queries @ keys.mT, lag.to(q.dtype).exp(), writes)
        start = _start(row.start, states, seen, initial, entries, layout)
        if start is not None:
            own = own + c.to(q.dtype).exp() * (queries @ start.to(q.dtype).mT)
        read.append(own.transpose(1, 2))
    return torch.cat(read, dim=1)


def _start(
    token: int, states: Tensor | None, seen: Sequence[int], initial: Tensor | None, entries: dict[int, int], layout: Layout
) -> Tensor | None:
    """The memory before a token [B, H, M, K]; None for zero."""
    if token in entries:
        own = entries[token]
        return initial if initial is None or not layout.packed else initial[own : own + 1]
    assert states is not None
    return states[:, seen.index(token - 1)]
