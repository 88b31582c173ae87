"""Cells with a recurrent block a head, the non-linear controls: state_t = cell(state_{t-1}, W x_t + R h_{t-1} + b).

Elman, GRU and LSTM by torch's equations, and the sLSTM of xLSTM (arXiv:2405.04517); see `kernels/reference/cells.py`. Their
transition is not linear: it has a Jacobian (`cell_jacobians`), and no eigenvalues that hold at every state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Generator, Tensor, nn

from ...kernels.cell_jacobians import cell_jacobians
from ...kernels.cell_scan import CELLS, CellName, cell_scan
from ..hooks.names import MIXING_PLACE, TRANSITION_PLACE
from ..hooks.points import Point
from .base import Mixer, RMSNorm, StateRequest, linear
from .heads import HeadsConfig, RecurrentMixer
from .points import Z
from .recurrences import Recurrence


@dataclass(frozen=True)
class CellConfig(HeadsConfig):
    """Base of the cells, whose recurrent matrix has one block for each head.

    heads: blocks of the recurrent matrix. value_size: channels of each. key_size and short_convolution are not used.
    """

    points = (
        Point("attn.hook_inputs", "batch position head gate value", "pre-activations of the gates from the token"),
        Point("attn.hook_recurrence_out", "batch position head value", "h_t, the part of the state that is read"),
        Point("attn.hook_state", "batch tap head part value", "parts of the state after the tapped tokens", "edit", "taps"),
        Z,
    )
    absences: ClassVar[Mapping[str, str]] = {
        TRANSITION_PLACE: "a cell is not linear in its state; cell_jacobians has the derivative of its step",
        MIXING_PLACE: "a cell is not linear in its tokens",
    }

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return CellMixer(self, width, generator)


@dataclass(frozen=True)
class Elman(CellConfig, kind="elman"):
    """h = tanh(W x + R h + b)."""


@dataclass(frozen=True)
class GRU(CellConfig, kind="gru"):
    """The gated recurrent unit, whose gates say how much of the state is renewed."""


@dataclass(frozen=True)
class LSTM(CellConfig, kind="lstm"):
    """The long short-term memory, whose gates say what a cell forgets, takes in and shows."""


@dataclass(frozen=True)
class SLSTM(CellConfig, kind="slstm"):
    """The LSTM with an exponential input gate, a normaliser and a running maximum."""


class CellMixer(RecurrentMixer):
    """The module of the cells. Forget gates start with a bias of 1, recurrent blocks orthogonal."""

    def __init__(self, config: CellConfig, width: int, generator: Generator) -> None:
        super().__init__(config.kind, config.points, config.absences)
        self.cell = kind = cast(CellName, config.kind)
        cell, heads, size = CELLS[kind], config.heads, config.sizes(width)[1]
        gates = len(cell.gates)
        self.config = config
        self.recurrence = Recurrence(partial(cell_scan, kind))  # type: ignore[misc]
        self.axis_sizes = {"head": heads, "gate": gates, "part": len(cell.parts), "value": size}
        self.project = linear(width, heads * gates * size, generator)
        blocks = torch.randn(heads, gates, size, size, generator=generator)
        self.recurrent = nn.Parameter(torch.linalg.qr(blocks)[0].contiguous())
        self.bias = nn.Parameter(torch.zeros(heads, gates, size))
        if "f" in cell.gates:
            self.bias.data[:, cell.gates.index("f")] = 1.0
        self.norm = RMSNorm(size)
        self.project_out = linear(heads * size, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""
        return self.project_out.weight.T.unflatten(0, (self.config.heads, -1))

    def jacobians(self, inputs: Tensor) -> Tensor:
        """d state_t / d state_{t-1} in float64, [B, T, H, P V, P V], along pre-activations [B, T, H, G, V] from a zero state."""
        return cell_jacobians(self.cell, *self._doubled(inputs))

    def step(self, inputs: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The states after one token and their Jacobians, in float64: [n, H, P, V] and [n, H, P V, P V].

        inputs: [n, H, G, V], pre-activations from the token. states: [n, H, P, V], those before it.
        """
        after = self.held(inputs, states, 1)
        return after, cell_jacobians(self.cell, *self._doubled(inputs[:, None]), initial_state=states.double())[:, 0]

    def held(self, inputs: Tensor, states: Tensor, count: int) -> Tensor:
        """The states after the same token `count` times, in float64; arguments as in `step`."""
        parts = self._doubled(inputs[:, None].expand(-1, count, -1, -1, -1))
        return cell_scan(self.cell, *parts, initial_state=states.double(), implementation="reference").final_state

    def _doubled(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, recurrent blocks and bias in float64, where the inputs are."""
        recurrent, bias = (part.detach().to(inputs.device, torch.float64) for part in (self.recurrent, self.bias))
        return inputs.double(), recurrent, bias

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        sizes = self.axis_sizes
        inputs = self.project(x).unflatten(-1, (sizes["head"], sizes["gate"], sizes["value"]))
        read = self.recur(self.fire(inputs=inputs), request, recurrent=self.recurrent, bias=self.bias)
        mixed: Tensor = self.project_out(self.hook_z(self.norm(read)).flatten(-2))
        return mixed
