"""Each family of recurrence as a mixer runs it: its call, and the exact transition, write and attention of its tokens.

Tokens go by the names of their hooks: q, k, v, beta, log_decay and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...kernels.delta_rule import delta_rule
from ...kernels.diagonal_plus_low_rank import diagonal_plus_low_rank
from ...kernels.diagonal_scan import diagonal_scan, scan_attention
from ...kernels.effective_attention import effective_attention
from ...kernels.gate_loop import gate_loop, gate_loop_effective_attention
from ...kernels.gated_linear_attention import gated_linear_attention
from ...kernels.linear_attention import linear_attention, with_ones
from ...kernels.linear_recurrence import linear_recurrence, linear_recurrence_attention
from ...kernels.mlstm import mlstm, mlstm_effective_attention, scaled_gates
from ...kernels.operators.transition import Transition, householder_write
from ...kernels.precision import widened
from ...kernels.recurrence import RecurrenceOutput
from ...kernels.shown import with_shapes

Tokens = dict[str, Any]  # of tensors


@dataclass(frozen=True)
class Recurrence:
    """How a mixer runs its recurrence, and what the recurrence tells of itself.

    call: (**tokens, **carried, taps, edits) -> RecurrenceOutput, which says itself what continues it.

    transition: of each token [B, T, H]. write: B_t of each token, in the shape of the state. attention: the mixing matrix
    [B, H, T, T]. None where the family has none. shows: hook -> what of its result it shows beside the states.
    applied: from the tokens, and what continues them, to those that transition and write are of, where the state follows others
    than those that are hooked.
    state: the keyword among those that continue it which is the state that taps show.
    """

    call: Callable[..., RecurrenceOutput]
    transition: Callable[[Tokens], Transition] | None = None
    write: Callable[[Tokens], Tensor] | None = None
    attention: Callable[[Tokens], Tensor] | None = None
    shows: Mapping[str, str] = field(default_factory=dict)
    applied: Callable[[Tokens, Tokens], Tokens] | None = None
    state: str = "initial_state"

    __repr__ = with_shapes


def outer(k: Tensor, v: Tensor) -> Tensor:
    """K v^T: [B, T, H, K, V], in the dtype of the state it is written to."""
    return widened(k)[..., :, None] * widened(v)[..., None, :]


def of_transition(transition: Callable[[Tokens], Transition]) -> Recurrence:
    """S_t = A_t S_{t-1} + k_t v_t^T, o_t = S_t^T q_t, of a mixer that has tokens q, k, v, and a transition that no other call
    of `kernels` has: exact, and as slow as a loop over tokens.
    """

    def call(**how: Any) -> RecurrenceOutput:
        asked = {name: how.pop(name, None) for name in ("initial_state", "taps", "edits")}
        return linear_recurrence(how["q"], transition(how), _write(how), **asked)

    def attention(tokens: Tokens) -> Tensor:
        return linear_recurrence_attention(tokens["q"], tokens["k"], transition(tokens))

    return Recurrence(call, transition, _write, attention)


def _scalar(tokens: Tokens) -> Transition:
    k = tokens["k"]
    log_decay = tokens.get("log_decay")
    return Transition.diagonal_only((k.new_zeros(k.shape[:3]) if log_decay is None else log_decay)[..., None], k.shape[-1])


def _by_channel(tokens: Tokens) -> Transition:
    return Transition.diagonal_only(tokens["log_decay"], tokens["k"].shape[-1])


def _complex(tokens: Tokens) -> Transition:
    return Transition.diagonal_only(torch.complex(widened(tokens["log_decay"]), widened(tokens["phase"])), tokens["k"].shape[-1])


def _complex_attention(tokens: Tokens) -> Tensor:
    return gate_loop_effective_attention(*(tokens[name] for name in ("q", "k", "log_decay", "phase")))


def _write(tokens: Tokens) -> Tensor:
    return outer(tokens["k"], tokens["v"])


def _attention(tokens: Tokens, **how: Any) -> Tensor:
    return effective_attention(**{name: x for name, x in tokens.items() if name != "v"}, **how)


def _keys(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and rates with their axis of keys a token."""
    k, v, beta = tokens["k"], tokens["v"], tokens["beta"]
    return (k, v, beta) if k.ndim == 5 else (k[..., None, :], v[..., None, :], beta[..., None])


def _delta_transition(tokens: Tokens) -> Transition:
    keys, _, beta = _keys(tokens)
    return Transition.householders(keys, beta, tokens.get("log_decay"))


def _low_rank_transition(tokens: Tokens) -> Transition:
    return Transition.diagonal_plus_low_rank(tokens["a"], tokens["b"], tokens["log_decay"])


def _scaled(tokens: Tokens, carried: Tokens) -> Tokens:
    """The mLSTM's state is scaled by e^{-m}, and so are its decays and what is written to it."""
    gates = scaled_gates(tokens["log_input"], tokens["log_decay"], carried.get("initial_max"))
    k = widened(tokens["k"]) * gates.input_gate[..., None]
    return {"k": k, "v": with_ones(tokens["v"]), "log_decay": gates.log_decay}


def _mlstm_attention(tokens: Tokens) -> Tensor:
    return mlstm_effective_attention(*(tokens[name] for name in ("q", "k", "log_input", "log_decay")))


def _scan_transition(tokens: Tokens) -> Transition:
    decay = tokens["decay"]
    empty = decay.new_zeros(*decay.shape, 0)
    return Transition(decay, empty, empty)


LINEAR_ATTENTION = Recurrence(linear_attention, _scalar, _write, _attention)
NORMALISED_LINEAR_ATTENTION = Recurrence(
    partial(linear_attention, normalise=True),
    _scalar,
    lambda tokens: outer(tokens["k"], with_ones(tokens["v"])),
    partial(_attention, normalise=True),
)
GATED_LINEAR_ATTENTION = Recurrence(gated_linear_attention, _by_channel, _write, _attention)
GATE_LOOP = Recurrence(gate_loop, _complex, _write, _complex_attention)
DELTA_RULE = Recurrence(delta_rule, _delta_transition, lambda tokens: householder_write(*_keys(tokens)), _attention)
DIAGONAL_PLUS_LOW_RANK = Recurrence(diagonal_plus_low_rank, _low_rank_transition, _write, _attention)
MLSTM_RECURRENCE = Recurrence(mlstm, _scalar, _write, _mlstm_attention, applied=_scaled)
DIAGONAL_SCAN = Recurrence(
    diagonal_scan, _scan_transition, lambda tokens: tokens["x"], lambda tokens: scan_attention(tokens["decay"])
)
