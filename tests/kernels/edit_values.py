"""Values for edits of every kind, and their gradients in packed sequences: what tests of edits share."""

from __future__ import annotations

from itertools import pairwise

import torch
from recurrences import RECURRENCES, span
from torch import Tensor

from statescope import Edit

B, T, H, K, V = 2, 75, 3, 8, 6
OPERATIONS = ("set", "add", "scale", "project_out_key", "reflect_key", "project_out_value")


def value_for(operation: str, heads: int, columns: int = V) -> Tensor:
    sizes = {"scale": (), "project_out_key": (K,), "reflect_key": (K,), "project_out_value": (columns,)}
    size = sizes.get(operation, (K, columns))
    return torch.randn(B, heads, *size, dtype=torch.float64) if size else torch.tensor(-0.7, dtype=torch.float64)


BOUNDS = (0, 30, 71, 75)
AT = {
    "set": 2,
    "add": 4,
    "scale": 6,
    "project_out_key": 40,
    "reflect_key": 68,
    "project_out_value": 72,
}  # not in the order of rows


def packed_edit_gradients(name: str, implementation: str, chunk: int) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the values of edits of every kind, several of a sequence: packed, and sequence by sequence in float64."""
    recurrence = RECURRENCES[name]
    dtype = torch.float32 if implementation == "triton" else torch.float64
    inputs = recurrence.make(1, T, H, K, V, torch.float64, 1)
    leaves = {
        operation: value_for(operation, H, V + recurrence.extra_columns)[:1].requires_grad_()
        if operation != "scale"
        else value_for(operation, H).requires_grad_()
        for operation in OPERATIONS
    }
    weight = torch.randn(1, T, H, V, dtype=torch.float64)
    cast = {key: x.to(dtype) for key, x in inputs.items()}
    edits = [Edit(AT[operation], operation, leaves[operation]) for operation in reversed(OPERATIONS)]
    out = recurrence.call(**cast, cu_seqlens=torch.tensor(BOUNDS), edits=edits, implementation=implementation, chunk=chunk)
    loss = (out.output * weight.to(dtype)).sum() + out.final_state.square().sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    loss = torch.zeros((), dtype=torch.float64)
    for first, stop in pairwise(BOUNDS):
        own = [Edit(at - first, kind, leaves[kind]) for kind, at in AT.items() if first <= at < stop]
        out = recurrence.call(**span(inputs, first, stop), edits=own, implementation="reference")
        loss = loss + (out.output * weight[:, first:stop]).sum() + out.final_state.square().sum()
    return list(found), list(torch.autograd.grad(loss, list(leaves.values())))
