"""The matrix of a tangent kernel from its products with vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from .operator import TangentKernelOperator
from .task import AT_ONCE, EngineResult, KernelTask


def ghost_kernel(task: KernelTask) -> EngineResult:
    """The kernel some columns at a time, from ordinary backward passes of sums over samples."""
    largest = max(len(samples) for samples in (task.first, task.second) if samples is not None)
    operator = TangentKernelOperator(
        task.model,
        task.first,
        task.second,
        task.output,
        parameters=task.parameters,
        read=task.read,
        tile=None if task.tile >= largest else task.tile,
    )
    columns, found = operator.shape[1], dict[str, list[Tensor]]()
    identity = torch.eye(columns, dtype=operator.dtype, device=operator.device)
    for start in range(0, columns, AT_ONCE):
        for name, own in operator.parts(identity[:, start : start + AT_ONCE], task.group).items():
            found.setdefault(name, []).append(own)
        task.advance(min(start + AT_ONCE, columns), columns)
    parts = {name: torch.cat(own, dim=1) for name, own in found.items()}
    if task.output == "full":
        outputs = operator.all_outputs
        parts = {name: own.unflatten(0, (-1, outputs)).unflatten(2, (-1, outputs)) for name, own in parts.items()}
    return EngineResult(parts, operator.routes)
