"""Hooks that several token mixers share, and groups of them by the shape of the state. A mixer composes its `points` from these.

A hook of its own is a `Point` in the mixer's file. Each name but those of the state is a token of the recurrence, which the mixer
fires (`Mixer.fire`) as the recurrence then takes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..hooks.points import Point

QKV = (
    Point("attn.hook_q", "batch position head key", "query, as it enters the recurrence or the softmax"),
    Point("attn.hook_k", "batch position head [householder] key", "key, as it enters the recurrence or the softmax"),
    Point("attn.hook_v", "batch position head [householder] value", "value, as it enters the recurrence or the softmax"),
)
BETA = Point("attn.hook_beta", "batch position head [householder]", "step size; the eigenvalue along the key is 1 - beta")
LOG_DECAY = Point("attn.hook_log_decay", "batch position head", "natural log of the decay, <= 0")
LOG_DECAY_BY_CHANNEL = Point("attn.hook_log_decay", "batch position head key", "natural log of the decay by key channel, <= 0")
STEP = Point("attn.hook_step", "batch position head", "Delta_t, the discretisation step, > 0")
GATE = Point("attn.hook_gate", "batch position head value", "output gate before its activation")
Z = Point("attn.hook_z", "batch position head value", "what the output matrix reads")
Z_WITHOUT_HEADS = Point("attn.hook_z", "batch position width", "what the output matrix reads")

TRANSITION = Point("attn.hook_transition", "batch position head", "transition A_t, a Transition", "read", "request")

# S_t [B, H, K, V]
MATRIX_STATE = (
    Point("attn.hook_recurrence_out", "batch position head value", "what the recurrence reads out, before norm and gate"),
    Point("attn.hook_state", "batch tap head key value", "state S_t after the tapped tokens", "edit", "taps"),
    Point("attn.hook_write", "batch tap head key value", "write B_t of the tapped tokens", "read", "taps"),
    TRANSITION,
    Point(
        "attn.hook_effective_attention",
        "batch head query source [householder]",
        "weight of each value in each read-out, exact; a negative weight is possible",
        "read",
        "request",
    ),
)


def with_normaliser(points: Iterable[Point], column: str) -> tuple[Point, ...]:
    """The hooks of a matrix state that has a column more, the normaliser; `column` says what it is."""
    states = {"attn.hook_state", "attn.hook_write"}
    return tuple(
        replace(point, axes=point.axes.replace("value", "state_value"), holds=f"{point.holds}; {column}")
        if point.name in states
        else point
        for point in points
    )


# h_t [B, H, C]
X = Point("attn.hook_x", "batch position head channel", "what the token adds to each state")
DECAY = Point("attn.hook_decay", "batch position head channel", "diagonal of the transition")
VECTOR_STATE = (
    Point("attn.hook_recurrence_out", "batch position head channel", "state after each token, before it is read"),
    Point("attn.hook_state", "batch tap head channel", "state h_t after the tapped tokens", "edit", "taps"),
    Point("attn.hook_write", "batch tap head channel", "what the tapped tokens add to the state", "read", "taps"),
    TRANSITION,
)
DIAGONAL_VECTOR_STATE = (
    X,
    DECAY,
    *VECTOR_STATE,
    Point(
        "attn.hook_effective_attention",
        "batch head query source channel",
        "weight of what each token adds in the state of each channel, exact",
        "read",
        "request",
    ),
)
