"""The hook table: what each hook holds, its axes, and which mixers have it.

Models make their hook points from this table, and filters, documentation and tests read it. Names follow transformer-lens;
what it has no name for is named in the field's own terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .names import place_of

SOFTMAX = frozenset({"attention"})
CELLS = frozenset({"elman", "gru", "lstm", "slstm"})
SLOTS = frozenset({"gated_slot_attention"})
DENSE = frozenset({"lssl"})
VECTOR = DENSE | frozenset({"mamba", "lru", "s5", "s4d", "rg_lru", "rwkv4"})
DELTA = frozenset({"delta_net", "gated_delta_net", "kimi_delta_attention"})
FIXED_OR_SCALAR = frozenset({"ret_net", "trans_normer", "gated_delta_net", "mamba2", "mlstm", "linearized"})
BY_CHANNEL = frozenset({"gated_linear_attention", "hgrn2", "gate_loop", "rwkv6", "rwkv7", "kimi_delta_attention"})
NORMALISED = frozenset({"linear_attention", "mlstm"})  # whose state has a column more, the normaliser
MATRIX = DELTA | FIXED_OR_SCALAR | BY_CHANNEL | {"linear_attention"}
RECURRENT = MATRIX | SLOTS | VECTOR | CELLS
HEADS = MATRIX | SLOTS | SOFTMAX
GATED = frozenset(
    {"gated_delta_net", "ret_net", "trans_normer", "gated_linear_attention", "gate_loop", "mlstm"}
    | {"kimi_delta_attention", "rwkv6", "rwkv7", "mamba2"}
)

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
    access: "write": a hook function may return a replacement, or change the tensor in place. "edit": changed through
        `run_with_edits`, or in a run of one tap by a hook function that returns a replacement, from which the recurrence goes on.
        "read": neither. A change in place of what is not for writing raises.
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
    Point("attn.hook_q", "batch position head key", "query, as it enters the recurrence or the softmax", HEADS),
    Point("attn.hook_k", "batch position head [householder] key", "key, as it enters the recurrence or the softmax", HEADS),
    Point("attn.hook_v", "batch position head [householder] value", "value, as it enters the recurrence or the softmax", HEADS),
    Point("attn.hook_q", "batch position channel", "C_t, what reads the states of each channel", frozenset({"mamba"})),
    Point("attn.hook_k", "batch position channel", "B_t, how an input enters the states of each channel", frozenset({"mamba"})),
    Point("attn.hook_v", "batch position head", "input of each channel, after the short convolution", frozenset({"mamba"})),
    Point("attn.hook_attn_scores", "batch head query source", "scores before the softmax", SOFTMAX, "write", "request"),
    Point("attn.hook_pattern", "batch head query source", "attention after the softmax", SOFTMAX, "write", "request"),
    Point("attn.hook_beta", "batch position head [householder]", "step size; the eigenvalue along the key is 1 - beta", DELTA),
    Point("attn.hook_log_decay", "batch position head", "natural log of the decay, <= 0", FIXED_OR_SCALAR),
    Point("attn.hook_log_decay", "batch position head key", "natural log of the decay by key channel, <= 0", BY_CHANNEL),
    Point("attn.hook_log_decay", "batch position head slot", "natural log of the decay of each slot, <= 0", SLOTS),
    Point("attn.hook_phase", "batch position head key", "angle of the gate by key channel, radians", frozenset({"gate_loop"})),
    Point("attn.hook_log_input", "batch position head", "natural log of the input gate, of any sign", frozenset({"mlstm"})),
    Point("attn.hook_a", "batch position head key", "kappa, the unit vector that is read and erased", frozenset({"rwkv7"})),
    Point("attn.hook_b", "batch position head key", "-(rate * kappa), what is added where kappa reads", frozenset({"rwkv7"})),
    Point("attn.hook_step", "batch position head", "Delta_t, the discretisation step, > 0", frozenset({"mamba", "mamba2"})),
    Point("attn.hook_x", "batch position head channel", "what the token adds to each state", VECTOR),
    Point(
        "attn.hook_decay",
        "batch position head channel",
        "diagonal of the transition, complex for LRU, S5 and S4D",
        VECTOR - {"lssl"},
    ),
    Point("attn.hook_inputs", "batch position head gate value", "pre-activations of the gates from the token", CELLS),
    Point("attn.hook_slots", "batch position head slot", "softmax over slots", SLOTS, "read"),
    Point(
        "attn.hook_state", "batch tap head key value", "state S_t after the tapped tokens", MATRIX - NORMALISED, "edit", "taps"
    ),
    Point(
        "attn.hook_state",
        "batch tap head key state_value",
        "state S_t after the tapped tokens; its last column is the normaliser (the mLSTM's is scaled by e^{-m}; "
        "linear attention has one only if it normalises)",
        NORMALISED,
        "edit",
        "taps",
    ),
    Point("attn.hook_state", "batch tap head slot value", "values in the slots after the tapped tokens", SLOTS, "edit", "taps"),
    Point("attn.hook_state", "batch tap head channel", "state h_t after the tapped tokens", VECTOR, "edit", "taps"),
    Point("attn.hook_state", "batch tap head part value", "parts of the state after the tapped tokens", CELLS, "edit", "taps"),
    Point("attn.hook_key_state", "batch tap head slot key", "keys in the slots after the tapped tokens", SLOTS, "read", "taps"),
    Point("attn.hook_write", "batch tap head key value", "write B_t of the tapped tokens", MATRIX - NORMALISED, "read", "taps"),
    Point("attn.hook_write", "batch tap head key state_value", "write B_t of the tapped tokens", NORMALISED, "read", "taps"),
    Point("attn.hook_write", "batch tap head slot value", "what the tapped tokens write into the slots", SLOTS, "read", "taps"),
    Point("attn.hook_write", "batch tap head channel", "what the tapped tokens add to the state", VECTOR, "read", "taps"),
    Point(
        "attn.hook_transition",
        "batch position head",
        "transition A_t, a Transition",
        RECURRENT - CELLS,
        "read",
        "request",
    ),
    Point(
        "attn.hook_effective_attention",
        "batch head query source [householder]",
        "weight of each value in each read-out, exact; a negative weight is possible",
        MATRIX,
        "read",
        "request",
    ),
    Point(
        "attn.hook_effective_attention",
        "batch head query source channel",
        "weight of what each token adds in the state of each channel, exact",
        VECTOR - DENSE,
        "read",
        "request",
    ),
    Point("attn.hook_recurrence_out", "batch position head value", "what the recurrence reads out, before norm and gate", MATRIX),
    Point("attn.hook_recurrence_out", "batch position head value", "what the slots give, before SiLU and norm", SLOTS),
    Point("attn.hook_recurrence_out", "batch position head value", "h_t, the part of the state that is read", CELLS),
    Point("attn.hook_recurrence_out", "batch position head channel", "state after each token, before it is read", VECTOR),
    Point("attn.hook_gate", "batch position head value", "output gate before its activation", GATED),
    Point("attn.hook_gate", "batch position head", "output gate before its activation", frozenset({"mamba"})),
    Point("attn.hook_z", "batch position head value", "what the output matrix reads", HEADS | CELLS),
    Point("attn.hook_z", "batch position head", "what the output matrix reads, by channel", frozenset({"mamba"})),
    Point("attn.hook_z", "batch position width", "what the output matrix reads", frozenset({"lru", "s5", "s4d", "lssl"})),
)


def mixer_points(mixer: str) -> tuple[Point, ...]:
    """The rows of the token mixer of this kind."""
    return tuple(point for point in MIXER_POINTS if point.mixers is None or mixer in point.mixers)


def point_of(name: str, mixer: str | None = None) -> Point:
    """The row of a full hook name such as "blocks.3.attn.hook_k", for a mixer of this kind where mixers differ in its axes.

    Without a mixer the first row of that name; rows of one name agree in firing, access and the axis of positions. Raises
    KeyError for a name that no row has.
    """
    local = place_of(name)
    for point in (*MODEL_POINTS, *BLOCK_POINTS, *MIXER_POINTS):
        if point.name == local and (mixer is None or point.mixers is None or mixer in point.mixers):
            return point
    raise KeyError(name)


def why_not(name: str, mixer: str) -> str | None:
    """Why a mixer of this kind lacks a hook of the table; None for a name that is in no row."""
    local = place_of(name)
    owners = sorted({kind for point in MIXER_POINTS if point.name == local for kind in point.mixers or ()})
    if not owners:
        return None
    if mixer in CELLS and local == "attn.hook_transition":
        return f"{mixer} is not linear in its state and has no transition; see cell_jacobians"
    return f"{mixer} has no {local.removeprefix('attn.')}; it belongs to {', '.join(owners)}"
