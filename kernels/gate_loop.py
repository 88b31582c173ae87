"""Gated linear attention whose decay is complex: a modulus and an angle for each key channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .chunk_table import Layout
from .dispatch import ImplementationRequest
from .effective_attention import effective_attention
from .gated_linear_attention import gated_linear_attention
from .precision import outside_autocast, widened
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest


@outside_autocast
def gate_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    phase: Tensor,
    *,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = Diag(e^{g_t + i theta_t}) S_{t-1} + k_t v_t^T, o_t = Re(S_t^T q_t).

    GateLoop (Katsch 2023, arXiv:2311.01927). Turned back by the angle so far, Theta_t = theta_1 + ... + theta_t, the state
    follows a real decay, so this is `gated_linear_attention` on 2 K channels with keys k cos Theta and k sin Theta, and queries
    alike: o_t = sum_j q_t k_j e^{c_t - c_j} cos(Theta_t - Theta_j) v_j.

    q, k: [B, T, H, K], v: [B, T, H, V], real. log_decay, phase: [B, T, H, K], phase in radians.
    initial_state, and the states returned: complex [B, H, K, V]. Edits "set", "add" and "scale" (by real numbers) act on the
    complex state; directions are refused. The other arguments and the errors are those of `gated_linear_attention`.
    """
    check_shapes(
        {}, q=(q, "B T H K"), k=(k, "B T H K"), v=(v, "B T H V"), log_decay=(log_decay, "B T H K"), phase=(phase, "B T H K")
    )
    check_finite(phase=phase)
    layout = Layout.of(q.shape[0], q.shape[1], cu_seqlens, taps, edits)
    angle = _angles(phase, layout)
    out = gated_linear_attention(
        _turned(q, angle),
        _turned(k, angle),
        v,
        torch.cat([log_decay, log_decay], dim=-1),
        initial_state=None if initial_state is None else _as_real(initial_state),
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=[_turn_edit(edit, angle) for edit in edits or ()],
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
    last = layout.at_ends(angle)
    states = None if out.states is None else _as_complex(out.states, angle[:, list(out.tap_positions)])
    return replace(out, final_state=_as_complex(out.final_state, last), states=states)


@outside_autocast
def gate_loop_effective_attention(q: Tensor, k: Tensor, log_decay: Tensor, phase: Tensor) -> Tensor:
    """M [B, H, T, T] with o_i = sum_j M_ij v_j from a zero state. Arguments as in `gate_loop`."""
    angle = phase.double().cumsum(1)
    decay = torch.cat([log_decay, log_decay], dim=-1)
    return effective_attention(_turned(q, angle), _turned(k, angle), log_decay=decay).to(q.dtype)


def _angles(phase: Tensor, layout: Layout) -> Tensor:
    """Theta [B, T, H, K], from the start of each sequence, in float64: it grows with length."""
    return torch.cat([phase[:, span].double().cumsum(1) for _, span in layout.groups], dim=1)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    x = widened(x)
    return torch.cat([x * angle.cos().to(x.dtype), x * angle.sin().to(x.dtype)], dim=-1)


def _as_complex(state: Tensor, angle: Tensor) -> Tensor:
    """The real [..., 2 K, V] state X, Y as e^{i Theta} (X - i Y), with angle [..., K]."""
    x, y = state.chunk(2, dim=-2)
    return torch.complex(x, -y) * torch.polar(torch.ones_like(angle), angle).to(torch.complex(x, y).dtype)[..., None]


def _as_real(state: Tensor, angle: Tensor | None = None) -> Tensor:
    """The inverse of `_as_complex`; without an angle, before the first token."""
    state = state if state.is_complex() else torch.complex(state, torch.zeros_like(state))
    if angle is not None:
        state = state * torch.polar(torch.ones_like(angle), -angle).to(state.dtype)[..., None]
    return torch.cat([state.real, -state.imag], dim=-2)


def _turn_edit(edit: Edit, angle: Tensor) -> Edit:
    if edit.operation == "scale":
        if edit.value.is_complex() or edit.value.ndim > 0:
            raise ValueError("Edit('scale') of a complex state takes one real number")
        return edit
    if edit.operation not in ("set", "add"):
        raise ValueError(f"Edit({edit.operation!r}): a complex state takes set, add and scale")
    here = angle[:, edit.position]
    here = here if edit.heads is None else here[:, list(edit.heads)]
    return replace(edit, value=_as_real(edit.value, here))
