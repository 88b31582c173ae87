"""The hook table: what each hook holds, its axes, and which mixers have it.

Models make their hook points from this table, and filters, documentation and tests read it. Names follow transformer-lens;
what it has no name for is named in the field's own terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DELTA = frozenset({"delta_net", "gated_delta_net"})
RECURRENT = DELTA
SOFTMAX = frozenset({"attention"})

Access = Literal["write", "read", "edit"]
Firing = Literal["always", "taps", "request"]


@dataclass(frozen=True)
class Point:
    """One hook.

    name: within its place: "attn.hook_k" of a block, or "hook_embed" of the model.
    axes: of the tensor. "position" runs over tokens, "tap" over tapped positions. An axis in brackets is there only for a
        mixer configured with more than one.
    holds: what it is, with units.
    mixers: the token mixers that have it; None means every one.
    access: "write": a hook function may return a replacement. "edit": changed only through `run_with_edits`. "read": neither.
    firing: "always"; "taps": only in a run with taps; "request": computed only when asked for.
    """

    name: str
    axes: str
    holds: str
    mixers: frozenset[str] | None = None
    access: Access = "write"
    firing: Firing = "always"

    @property
    def position_axis(self) -> int | None:
        """The axis of tokens or taps in the batched tensor; None if it has none."""
        names = self.axes.replace("[", "").replace("]", "").split()
        return next((axis for axis, name in enumerate(names) if name in ("position", "tap", "query")), None)


MODEL_POINTS = (
    Point("hook_embed", "batch position width", "token embeddings"),
    Point("ln_final.hook_scale", "batch position one", "root mean square that the final norm divides by"),
    Point("ln_final.hook_normalized", "batch position width", "residual stream after the final norm, before its gain"),
)

BLOCK_POINTS = (
    Point("hook_resid_pre", "batch position width", "residual stream entering the block"),
    Point("ln1.hook_scale", "batch position one", "root mean square that the norm before the token mixer divides by"),
    Point("ln1.hook_normalized", "batch position width", "normalised input of the token mixer, before the gain"),
    Point("hook_attn_out", "batch position width", "what the token mixer adds to the residual stream"),
    Point("hook_resid_mid", "batch position width", "residual stream between token and channel mixer"),
    Point("ln2.hook_scale", "batch position one", "root mean square that the norm before the channel mixer divides by"),
    Point("ln2.hook_normalized", "batch position width", "normalised input of the channel mixer, before the gain"),
    Point("mlp.hook_pre", "batch position hidden", "channel mixer before its activation"),
    Point("mlp.hook_post", "batch position hidden", "channel mixer's hidden units, which its output matrix reads"),
    Point("hook_mlp_out", "batch position width", "what the channel mixer adds to the residual stream"),
    Point("hook_resid_post", "batch position width", "residual stream leaving the block"),
)

MIXER_POINTS = (
    Point("attn.hook_q", "batch position head key", "query, as it enters the recurrence or the softmax"),
    Point("attn.hook_k", "batch position head [householder] key", "key, as it enters the recurrence or the softmax"),
    Point("attn.hook_v", "batch position head [householder] value", "value, as it enters the recurrence or the softmax"),
    Point("attn.hook_attn_scores", "batch head query source", "scores before the softmax", SOFTMAX, "write", "request"),
    Point("attn.hook_pattern", "batch head query source", "attention after the softmax", SOFTMAX, "write", "request"),
    Point("attn.hook_beta", "batch position head [householder]", "step size; the eigenvalue along the key is 1 - beta", DELTA),
    Point("attn.hook_log_decay", "batch position head", "natural log of the decay, <= 0", frozenset({"gated_delta_net"})),
    Point("attn.hook_state", "batch tap head key value", "state S_t after the tapped tokens", RECURRENT, "edit", "taps"),
    Point("attn.hook_write", "batch tap head key value", "write B_t of the tapped tokens", RECURRENT, "read", "taps"),
    Point("attn.hook_transition", "batch position head", "transition A_t, a Transition of K x K", RECURRENT, "read", "request"),
    Point(
        "attn.hook_effective_attention",
        "batch head query source [householder]",
        "weight of each value in each read-out, exact; a negative weight is possible",
        RECURRENT,
        "read",
        "request",
    ),
    Point("attn.hook_recurrence_out", "batch position head value", "read-out S_t^T q_t, before norm and gate", RECURRENT),
    Point("attn.hook_gate", "batch position head value", "output gate", frozenset({"gated_delta_net"})),
    Point("attn.hook_z", "batch position head value", "what the output matrix reads"),
)


def mixer_points(mixer: str) -> tuple[Point, ...]:
    """The rows of the token mixer of this kind."""
    return tuple(point for point in MIXER_POINTS if point.mixers is None or mixer in point.mixers)


def point_of(name: str) -> Point:
    """The row of a full hook name such as "blocks.3.attn.hook_k". Raises KeyError for a name that no table row has."""
    local = name.split(".", 2)[2] if name.startswith("blocks.") else name
    for point in (*MODEL_POINTS, *BLOCK_POINTS, *MIXER_POINTS):
        if point.name == local:
            return point
    raise KeyError(name)
