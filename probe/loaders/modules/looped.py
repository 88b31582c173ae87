"""A cell that a module's code calls once a position, handing its output to the next call: nn.LSTMCell, or one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...hooks.fire import fire
from ...hooks.points import Point
from ...mixers.base import Mixer, StateRequest
from .dry_run import Dry
from .tensors import rebuilt

STATE = Point("attn.hook_state", "batch tap head part value", "parts of the state after the tapped tokens", "edit", "taps")


class LoopedCell(Mixer):
    """The state that a module called in a loop hands from call to call: its output, of one part or several [B, size].

    Taps see it behind the calls of their positions, and an edit changes what the next call is given, and all else that reads it.
    """

    def __init__(self, module: nn.Module, outputs: Sequence[Tensor]) -> None:
        kind = type(module).__name__
        super().__init__(kind, (STATE,), {"attn.hook_transition": "is a cell in a loop, whose transition is not linear"})
        self.axis_sizes = {"head": 1, "part": len(outputs), "value": outputs[0].shape[-1]}
        self.request = StateRequest()
        self.taps: tuple[int, ...] = ()
        self.call = 0
        self.seen: list[Tensor] = []

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """A cell in a loop has no output matrix: raises AttributeError."""
        raise AttributeError(f"{self.kind} has no output matrix; its state is what it gives")

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        raise RuntimeError("a cell in a loop runs inside its own module")

    @property
    def asked(self) -> bool:
        """Whether this run wants anything of the state."""
        return bool(self.request.edits) or (bool(self.taps) and self.hook_state.has_hooks())

    def begin(self, request: StateRequest, taps: Sequence[int]) -> None:
        """Start a run. Raises ValueError for a read-out edit, which a state that is its own output does not have."""
        if any(edit.verb == "readout" for edit in request.edits):
            raise ValueError(f"{self.kind} gives its state as its output: a read-out edit has no meaning; use verb='propagate'")
        self.request, self.taps, self.call, self.seen = request, tuple(taps), 0, []

    def after(self, out: Any) -> Any:
        """The output of the next call, as edits and hook functions change it."""
        position, self.call = self.call, self.call + 1
        edits = [edit for edit in self.request.edits if edit.position == position]
        watched = position in self.taps and self.hook_state.has_hooks()
        if not edits and not watched:
            return out
        parts = [out] if isinstance(out, Tensor) else list(out)
        state = torch.stack(parts, dim=1)[:, None]  # [B, head, part, size]
        for edit in edits:
            state = edit.apply(state)
        if watched and len(self.taps) == 1:
            state = self._shown(state)
        elif watched:
            self.seen.append(state)
        changed = state[:, 0].unbind(1)
        if isinstance(out, Tensor):
            return changed[0]
        return rebuilt(out, changed)

    def _shown(self, state: Tensor) -> Tensor:
        """The state at the only tap, or what a hook function puts in its place."""
        shown: Tensor = self.hook_state(state[:, None].clone())
        if shown.shape != state[:, None].shape:
            raise ValueError(
                f"a hook function returned {tuple(shown.shape)} for {self.hook_state.name}, which is "
                f"{tuple(state[:, None].shape)}"
            )
        return shown[:, 0]

    def end(self) -> None:
        """Finish a run: show the states of several taps side by side.

        Raises RuntimeError where the module called the cell less often than there are positions, and not at one that was asked
        for.
        """
        asked = [*(edit.position for edit in self.request.edits), *(self.taps if self.hook_state.has_hooks() else ())]
        missed = sorted({position for position in asked if position >= self.call})
        if self.asked and missed:
            raise RuntimeError(
                f"{self.kind} was called {self.call} times in this run, not at position {missed[0]}, whose state was to be shown "
                "or changed; ask for earlier positions"
            )
        if self.seen:
            fire(self.hook_state, torch.stack(self.seen, dim=1))


def looped_cell(dry: Dry, path: str, module: nn.Module) -> LoopedCell | None:
    """The cell that a module called once a position is; None for one that hands nothing on.

    All tensors of its output are [B, size] alike, and each is itself an input of the next call.
    """
    if not dry.calls_are_positions(path):
        return None
    inputs, outputs = dry.base.inputs[path], dry.base.outputs[path]
    if not outputs[0] or any(part.ndim != 2 or part.shape != outputs[0][0].shape for part in outputs[0]):
        return None
    handed = all(any(part is given for given in inputs[call + 1]) for call, parts in enumerate(outputs[:-1]) for part in parts)
    return LoopedCell(module, outputs[0]) if handed or isinstance(module, nn.RNNCellBase) else None
