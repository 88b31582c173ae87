"""torch's own recurrent layers: nn.RNN, nn.GRU and nn.LSTM, layer by layer and direction by direction, on our cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....kernels.cell_scan import CELLS, CellName, cell_scan
from ....kernels.recurrence import Edit, RecurrenceOutput, Tap, TapRequest
from ...mixers.base import MixerConfig, StateRequest
from ...mixers.heads import RecurrentMixer
from ...mixers.recurrences import Recurrence
from .dry_run import Dry

KINDS: dict[type[nn.Module], CellName] = {nn.RNN: "elman", nn.GRU: "gru", nn.LSTM: "lstm"}


class TorchCell(RecurrentMixer):
    """One direction of one layer of a torch recurrence. Its transition is not linear.

    suffix: torch's, of the names of its parameters: "l0", or "l1_reverse". In the reverse direction the state after a position is
    that behind all positions from the end down to it.
    """

    def __init__(self, module: nn.RNNBase, kind: CellName, layer: int, reverse: bool) -> None:
        config = MixerConfig.of_kind(kind)
        points = tuple(point for point in config.points if point.name != "attn.hook_z")
        super().__init__(kind, points, config.absences)
        self.suffix, self.reverse = f"l{layer}{'_reverse' if reverse else ''}", reverse
        self.request = StateRequest()
        self.recurrence = Recurrence(partial(_both_ways, kind, reverse))  # type: ignore[misc]
        cell = CELLS[kind]
        self.axis_sizes = {"head": 1, "gate": len(cell.gates), "part": len(cell.parts), "value": module.hidden_size}
        object.__setattr__(self, "module", module)  # not a submodule: its parameters are the module's

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """A torch recurrence has no output matrix: raises AttributeError."""
        raise AttributeError(f"a {type(self.module).__name__} has no output matrix; its state is what it gives")

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        raise RuntimeError("a cell of torch's runs inside its own module")

    def run(self, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """From inputs [B, T, width] and the state before them [B, parts, size] to outputs [B, T, size] and the state behind."""
        gates, size = self.axis_sizes["gate"], self.axis_sizes["value"]
        inputs = functional.linear(x, self._parameter("weight_ih"), self._parameter("bias_ih"))
        bias = self._parameter("bias_hh")
        memory: dict[str, Any] = {"carry": {"initial_state": start[:, None]}}
        read = self.recur(
            self.fire(inputs=inputs.unflatten(-1, (1, gates, size))),
            replace(self.request, memory=memory),
            recurrent=self._parameter("weight_hh").unflatten(0, (1, gates, size)),
            bias=None if bias is None else bias.view(1, gates, size),
        )
        return read[:, :, 0], memory["carry"]["initial_state"][:, 0].to(x.dtype)

    def _parameter(self, name: str) -> Any:
        return getattr(self.module, f"{name}_{self.suffix}", None)


def cells_of(module: nn.Module) -> list[TorchCell] | str | None:
    """The cells of a torch recurrence, in torch's order; the reason where its states are not reached; None for another module."""
    kind = KINDS.get(type(module))
    if kind is None or not isinstance(module, nn.RNNBase):
        return None
    if module.proj_size:
        return f"its output is a projection to {module.proj_size} numbers (proj_size), which no cell here has"
    if getattr(module, "nonlinearity", "tanh") != "tanh":
        return f"nonlinearity={module.nonlinearity!r}, and the cell here has tanh; its output is the state, see hook_out"
    directions = (False, True) if module.bidirectional else (False,)
    return [TorchCell(module, kind, layer, reverse) for layer in range(module.num_layers) for reverse in directions]


def steps_of(dry: Dry, path: str, module: Any) -> int:
    """Over how many positions a recurrence that is reached runs."""
    given = dry.base.values[path, "in"][0].tensor
    assert given is not None
    return int(given.shape[1 if module.batch_first else 0])


def why_unreached(dry: Dry, path: str, module: Any) -> str | None:
    """Why the states of a torch recurrence are not those of the positions of a run; None where they are."""
    values = dry.base.values[path, "in"]
    if len(values) > 1:
        return (
            f"it is called {len(values)} times in a run, so that its steps are not the positions; use a cell, such as nn.LSTMCell"
        )
    given = values[0].tensor
    if given is None or given.ndim != 3:
        return "it is not given a batch of sequences [batch, position, width]; run it without packing, on sequences of one length"
    steps = steps_of(dry, path, module)
    if steps != dry.length and not dry.one_length:
        return f"it runs over {steps} steps where the example has {dry.length} positions; hook it alone, on what enters it"
    return None


def run_cells(cells: Sequence[TorchCell], input: Tensor, hx: Any = None) -> Any:
    """What the forward of an nn.RNN, nn.GRU or nn.LSTM gives, by our cells; padding and packing are not taken.

    Its arguments go by torch's own names, by which a module may give them.
    """
    module: Any = cells[0].module
    if not isinstance(input, Tensor) or input.ndim != 3:
        what = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
        raise ValueError(
            f"{type(module).__name__} is given {what}; its "
            "states are reached for a batch of sequences of one length, [batch, position, width]: run without packing"
        )
    x = input if module.batch_first else input.transpose(0, 1)
    before = _start(cells, x, hx)
    finals, layers = [], len(cells) // module.num_layers
    for layer in range(module.num_layers):
        found = [cell.run(x, before[:, layer * layers + number]) for number, cell in enumerate(cells[layer * layers :][:layers])]
        x = torch.cat([read for read, _ in found], dim=-1)
        finals += [final for _, final in found]
        if module.dropout and module.training and layer < module.num_layers - 1:
            x = functional.dropout(x, module.dropout)
    parts = [part.contiguous() for part in torch.stack(finals).unbind(2)]  # [cells, B, size] each
    output = x if module.batch_first else x.transpose(0, 1)
    return output, tuple(parts) if len(parts) > 1 else parts[0]


def _start(cells: Sequence[TorchCell], x: Tensor, start: Any) -> Tensor:
    """The states before the first token, [B, cells, parts, size]."""
    parts, size = cells[0].axis_sizes["part"], cells[0].axis_sizes["value"]
    if start is None:
        return x.new_zeros(len(x), len(cells), parts, size)
    given = start if isinstance(start, tuple) else (start,)
    return torch.stack(list(given), dim=2).transpose(0, 1)


def _both_ways(kind: CellName, reverse: bool, *, inputs: Tensor, taps: TapRequest | None, edits: Any, **rest: Any) -> Any:
    """`cell_scan`, in the reverse direction too; positions are those of the sequence as it was given."""
    if not reverse:
        return cell_scan(kind, inputs, taps=taps, edits=edits, **rest)
    length = inputs.shape[1]
    tapped = () if taps is None else Tap.of(taps).resolve(length)
    turned: list[Edit] = [replace(edit, position=length - 1 - Tap.of(edit.position).resolve(length)[0]) for edit in edits or ()]
    mirrored = [length - 1 - position for position in reversed(tapped)] or None
    out = cell_scan(kind, inputs.flip(1), taps=mirrored, edits=turned, **rest)
    states = None if out.states is None else out.states.flip(1)
    return RecurrenceOutput(out.output.flip(1), out.final_state, states, tapped, out.implementation)
