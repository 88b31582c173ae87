"""The matrix of a tangent kernel from its products with vectors."""

from __future__ import annotations

from torch import Tensor

from .jacobian import Route
from .operator import TangentKernelOperator
from .task import KernelTask


def ghost_kernel(task: KernelTask) -> tuple[Tensor, dict[str, Route]]:
    """The kernel a column at a time, and the routes; two backward passes a column and output, and no gradients of one sample."""
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
    matrix = operator.dense()
    if task.output == "full":
        matrix = matrix.unflatten(0, (len(task.first), -1)).unflatten(2, (-1, operator.all_outputs))
    return matrix, operator.routes
