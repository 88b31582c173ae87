"""Whole Jacobians by torch.func: the reference that the other engines are tested against."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ..operators.not_finite import refuse_gradients
from .factors import as_real
from .jacobian import Parameters, chosen, double_tensors, run_model
from .samples import Read, Samples, read_outputs
from .task import EngineResult, KernelSums, KernelTask


def whole_jacobian(model: nn.Module, samples: Samples, read: Read, parameters: Parameters = None) -> dict[str, Tensor]:
    """The Jacobian of each counted parameter, [N, O, numbers], in float64, of all samples and outputs at once.

    Raises ValueError for a model that torch.func cannot batch, such as one with a custom kernel.
    """
    samples = samples.double()
    leaves, held = double_tensors(model, parameters)
    run_model(model, leaves | held, samples, read)  # under vmap no value can be looked at
    lengths = samples.positions

    def outputs(tensors: dict[str, Tensor], position: Tensor | None, *inputs: Tensor) -> Tensor:
        one = Samples(*(value[None] for value in inputs), positions=None if position is None else position[None])
        return read_outputs(functional_call(model, tensors | held, one.inputs), one, read)[0]

    axes = (None, None if lengths is None else 0, *[0] * len(samples.inputs))
    try:
        found = vmap(jacrev(outputs), in_dims=axes)({n: v.detach() for n, v in leaves.items()}, lengths, *samples.inputs)
    except RuntimeError as error:
        raise ValueError(f'torch.func cannot differentiate this model ({error}); method="structured" can') from error
    refuse_gradients(found)
    return {name: as_real(value.flatten(0, 1)).unflatten(0, value.shape[:2]) for name, value in found.items()}


def whole_kernel(task: KernelTask) -> EngineResult:
    """The kernel from whole Jacobians."""
    sums: KernelSums | None = None
    for rows, columns, one, other in task.tiles(lambda samples: whole_jacobian(task.model, samples, task.read, task.parameters)):
        outputs = next(iter(one.values())).shape[1]
        sums = KernelSums(task, outputs) if sums is None else sums
        for name, block in contracted(one, other, task.output):
            sums.add(name, rows, columns, block)
    assert sums is not None
    task.advance(1, 1)
    return EngineResult(sums.parts, dict.fromkeys(chosen(task.model, task.parameters), "whole"))


def contracted(first: dict[str, Tensor], second: dict[str, Tensor], output: str | int) -> Iterator[tuple[str, Tensor]]:
    """Each parameter's kernel from two Jacobians."""
    for name, rows in first.items():
        columns = second[name]
        if isinstance(output, int):
            yield name, rows[:, output] @ columns[:, output].T
        elif output == "trace":
            yield name, torch.einsum("iop,jop->ij", rows, columns)
        else:
            yield name, torch.tensordot(rows, columns, ([2], [2]))
