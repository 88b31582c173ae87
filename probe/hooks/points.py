"""What is said of a hook: its place, axes, units, and what a hook function may do; and the hooks that every model has.

A token mixer declares its own hooks in its file (`points`), composed from the shared ones of `mixers/points.py`; a channel mixer
likewise. Models make their hook points from these declarations, and filters, budgets, documentation and tests read them. Names
follow transformer-lens; what it has no name for is named in the field's own terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Access = Literal["write", "read", "edit"]
Firing = Literal["always", "taps", "request", "steps"]


@dataclass(frozen=True)
class Point:
    """What is known of one hook.

    name: within its place: "attn.hook_k" of a block, or "hook_embed" of the model.
    axes: of the tensor. "position" runs over tokens, "tap" over tapped positions. An axis in brackets is there only for a
        mixer configured with more than one.
    holds: what it is, with units.
    access: "write": a hook function may return a replacement, or change the tensor in place. "edit": changed through
        `run_with_edits`, or in a run of one tap by a hook function that returns a replacement, from which the recurrence goes on.
        "read": neither. A change in place of what is not for writing raises.
    firing: "always"; "taps": only in a run with taps; "request": computed only when asked for; "steps": once a position, with a
        position axis of one, the position being `hook.ctx["position"]`.
    is_complex: whether the tensor is complex.
    """

    name: str
    axes: str
    holds: str
    access: Access = "write"
    firing: Firing = "always"
    is_complex: bool = False

    @property
    def takes_gradient(self) -> bool:
        """Whether a backward hook sees the gradient of what it shows."""
        return self.access == "write" and self.firing != "steps"

    @property
    def at_taps(self) -> bool:
        """Whether it shows tapped tokens alone, as states are shown, and so fires in a run with taps and in no other."""
        return self.firing == "taps"

    @property
    def axis_names(self) -> list[str]:
        """The axes one by one, without brackets."""
        return self.axes.replace("[", "").replace("]", "").split()

    @property
    def position_axis(self) -> int | None:
        """The axis of tokens or taps in the batched tensor; None if it has none."""
        return next((axis for axis, name in enumerate(self.axis_names) if name in ("position", "tap", "query")), None)


def complex_of(points: Iterable[Point], *places: str) -> tuple[Point, ...]:
    """The same hooks, those at `places` (all, where none is named) of complex tensors."""
    return tuple(replace(point, is_complex=True) if not places or point.name in places else point for point in points)


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
    Point("hook_mlp_out", "batch position width", "what the channel mixer adds to the residual stream"),
    Point("hook_resid_post", "batch position width", "residual stream leaving the block"),
)
