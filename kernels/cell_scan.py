"""Recurrences that have no linear form: the non-linear controls, with a recurrent matrix for each head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .chunk_table import Layout
from .dispatch import choose
from .precision import outside_autocast, widened
from .recurrence import Edit, RecurrenceOutput, TapRequest
from .reference import cells
from .shown import with_shapes
from .triton.configurations import LARGEST_CELL

CellName = Literal["elman", "gru", "lstm", "slstm"]


@dataclass(frozen=True)
class Cell:
    """A cell, which steps from one state to the next.

    gates: pre-activations a channel, in order. parts: of the state, the first is what is read.
    """

    step: Callable[[cells.Parts, Tensor, Tensor], cells.Parts]
    gates: tuple[str, ...]
    parts: tuple[str, ...]

    __repr__ = with_shapes


CELLS: dict[str, Cell] = {
    "elman": Cell(cells.elman, ("h",), ("h",)),
    "gru": Cell(cells.gru, ("r", "z", "n"), ("h",)),
    "lstm": Cell(cells.lstm, ("i", "f", "g", "o"), ("h", "c")),
    "slstm": Cell(cells.slstm, ("i", "f", "z", "o"), ("h", "c", "n", "m")),
}


@outside_autocast
def cell_scan(
    cell: CellName,
    inputs: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: Literal["auto", "reference", "triton"] = "auto",
) -> RecurrenceOutput:
    """state_t = cell(state_{t-1}, x_t + R h_{t-1} + b), with R block-diagonal: one block a head (`reference/cells.py`).

    cell: "elman", "gru", "lstm" (torch's equations and gate order) or "slstm" (exponential input gate, arXiv:2405.04517).
    inputs: [B, T, H, G, D], the pre-activations of the G gates from the token. recurrent: [H, G, D, D], pre-activation d of
    gate g is sum_e recurrent[h, g, d, e] h_e. bias: [H, G, D], added to R h.
    initial_state: [B, H, P, D] (or [S, ...]) with the P parts of `CELLS[cell].parts`, zero when None.
    taps, edits: of the state [B, H, P, D]. "set", "add" and "scale" broadcast to it; "project_out_value" takes a direction of
    the D channels out of every part. Read-out edits are refused: a cell reads its own output.

    implementation: "reference" (the token loop, in the dtype of the inputs, float32 at least), "triton" (the loop in one kernel,
        float32), or "auto": Triton on a GPU. There is no chunked form: a cell has no linear one.

    Returns output [B, T, H, D] (the part h), final_state [B, H, P, D], states [B, taps, H, P, D].
    """
    if cell not in CELLS:
        raise ValueError(f"cell={cell!r} is not known; one of {', '.join(CELLS)}")
    if str(implementation) == "chunked":
        raise ValueError("implementation='chunked': a cell has no linear form to chunk; use 'reference', 'triton' or 'auto'")
    kind = CELLS[cell]
    sizes = {"G": len(kind.gates)}
    check_shapes(sizes, inputs=(inputs, "B T H G D"))
    check_shapes(sizes | {"E": sizes["D"]}, recurrent=(recurrent, "H G D E"), bias=(bias, "H G D"))
    check_finite(inputs=inputs, recurrent=recurrent, bias=bias, initial_state=initial_state)
    layout = Layout.of(inputs.shape[0], inputs.shape[1], cu_seqlens, taps, edits)
    _refuse_edits(layout)
    shape = (len(layout.starts), sizes["H"], len(kind.parts), sizes["D"])
    state = inputs.new_zeros(shape) if initial_state is None else initial_state
    if state.shape != shape:
        raise ValueError(
            f"initial_state has shape {tuple(state.shape)}; it needs {shape}, the parts being {', '.join(kind.parts)}"
        )
    check_shapes(dict(zip("SHPD", shape, strict=True)), inputs=(inputs, "B T H G D"), initial_state=(state, "S H P D"))
    dtype = inputs.dtype
    inputs, recurrent, state = widened(inputs), widened(recurrent), widened(state)
    bias = None if bias is None else widened(bias)
    ran = choose(implementation, inputs, fits=sizes["D"] <= LARGEST_CELL)
    ran = "reference" if ran == "chunked" else ran
    loop = _fused if ran == "triton" else _loop
    output, final, tapped = loop(cell, inputs, recurrent, bias, state, layout)
    states = torch.stack(tapped, dim=1) if tapped else None
    return RecurrenceOutput(output.to(dtype), final, states, layout.tap_positions, ran)


def _refuse_edits(layout: Layout) -> None:
    if layout.readouts:
        raise ValueError("a cell's read-out is its own next input: a read-out edit has no meaning; use verb='propagate'")
    for _, edit in layout.propagating:
        if edit.operation.endswith("_key"):
            raise ValueError(
                f"Edit({edit.operation!r}): a cell's state has parts and channels, no key side; use project_out_value"
            )


def _loop(
    cell: CellName, inputs: Tensor, recurrent: Tensor, bias: Tensor | None, state: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Sequences side by side, or one after another if packed. The output, the final states, and the tapped states."""
    step = CELLS[cell].step
    outputs, finals, seen = [], [], {}
    for sequences, span in layout.groups:
        now, read = state[sequences[0] : sequences[-1] + 1], []
        for t, token in enumerate(inputs[:, span].unbind(1)):
            from_state = torch.einsum("hgde,bhe->bhgd", recurrent, now[:, :, 0])
            now = torch.stack(step(now.unbind(2), token, from_state if bias is None else from_state + bias), dim=2)
            read.append(now[:, :, 0])
            for place, edit in layout.propagating:
                if place == (sequences, t):
                    now = edit.apply(now)
            if (sequences, t) in layout.taps:
                seen[sequences, t] = now
        outputs.append(torch.stack(read, dim=1))
        finals.append(now)
    return torch.cat(outputs, dim=1), torch.cat(finals), [seen[place.sequences, place.local] for place in layout.taps]


def _fused(
    cell: CellName, inputs: Tensor, recurrent: Tensor, bias: Tensor | None, state: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """As `_loop`, in one kernel between two edits. Packed sequences run side by side, padded behind their ends."""
    from .triton.cell_states import cell_states

    index = layout.padded_index(inputs.device) if layout.packed else None
    tokens = inputs if index is None else inputs[0, index]
    shift = torch.zeros_like(recurrent[..., 0]) if bias is None else bias
    cuts = sorted({0, tokens.shape[1]} | {place.local + 1 for place, _ in layout.propagating})
    parts, edited = [], {}
    for start, stop in pairwise(cuts):
        parts.append(cell_states(cell, tokens[:, start:stop], recurrent, shift, state))
        state = parts[-1][:, -1]
        for place, edit in layout.propagating:
            if place.local + 1 == stop:
                state = edit.apply_to(place.sequences, state)
                edited[place.local] = state
    states = torch.cat(parts, dim=1)

    def after(sequences: tuple[int, ...], local: int) -> Tensor:
        at = edited.get(local, states[:, local])
        return at[sequences[0] : sequences[-1] + 1]

    finals = [after((s,), length - 1) for s, length in enumerate(layout.lengths)]
    read = states[..., 0, :]
    if index is not None:
        read = torch.cat([read[s, :length] for s, length in enumerate(layout.lengths)])[None]
    return read, torch.cat(finals), [after(*place) for place in layout.taps]
