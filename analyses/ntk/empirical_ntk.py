"""The empirical neural tangent kernel of a model, between two sets of samples.

    Theta_ij = J_i J_j^T,   J_i = d f(x_i) / d parameters   [O, P]

"trace" sums it over the outputs, sum_o <J_io, J_jo> [N, M]; "full" keeps them, [N, O, M, O]; a number takes one output alone
(Jacot et al. 2018, arXiv:1806.07572). All are float64. The engines:

    structured   One backward pass an output for all samples, and of each parameter what the gradient says of each sample where
                 the parameter meets the data; each matrix by the cheaper of two exact routes (`jacobian`, `factors`). Works
                 through custom kernels. The default.
    jacobian     Whole Jacobians by torch.func: the reference, with the memory that this takes.
    ghost        A column at a time, from products with vectors by two backward passes (`operator`).
    projected    From random projections of the gradients, with a standard error of each entry (`projection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...probe.errors import unknown_name
from .factors import Dense, Factor, inner, inner_of_all
from .ghost import ghost_kernel
from .jacobian import Jacobian, Parameters, Route, chosen
from .plan import Plan, check_memory, plan
from .projection import projected_kernel
from .reference import contracted, whole_jacobian
from .samples import Read, Samples, last_position
from .task import KernelTask, Output

Method = Literal["auto", "structured", "jacobian", "ghost", "projected"]
Advance = Callable[[int, int], None]
METHODS = ("auto", "structured", "jacobian", "ghost", "projected")


@dataclass(frozen=True)
class TangentKernel:
    """A tangent kernel, and how it was computed.

    values: [N, M] or [N, O, M, O], float64. method: the engine that was taken. routes: of each parameter that was counted, by its
    name; "unused" marks one that the outputs do not depend on. Parameters with `requires_grad` off are not counted. parts: the
    kernels of the groups of parameters that were asked for, which add up to `values`. plan: the memory that was foreseen.
    standard_error: of each value, for the projected engine.
    """

    values: Tensor
    method: str
    routes: dict[str, Route]
    parts: dict[str, Tensor]
    plan: Plan
    standard_error: Tensor | None = None

    def summary(self) -> str:
        """How many parameters were counted by which engine, which sample by sample, and the memory that was foreseen."""
        alone = [name for name, route in self.routes.items() if route == "alone"]
        return (
            f"{len(self.routes)} parameters counted by the {self.method} engine, {len(alone)} of them sample by sample "
            f"({', '.join(alone) or 'none'}); {self.plan}"
        )


def empirical_ntk(
    model: nn.Module,
    x: Tensor | Samples,
    y: Tensor | Samples | None = None,
    output: Output = "trace",
    *,
    parameters: Parameters = None,
    method: Method = "auto",
    read: Read = last_position,
    tile: int | None = None,
    advance: Advance = lambda done, total: None,
) -> Tensor:
    """The kernel of a model between the samples x and y, in float64; `tangent_kernel` says all of how it was had."""
    return tangent_kernel(model, x, y, output, parameters=parameters, method=method, read=read, tile=tile, advance=advance).values


def tangent_kernel(
    model: nn.Module,
    x: Tensor | Samples,
    y: Tensor | Samples | None = None,
    output: Output = "trace",
    *,
    parameters: Parameters = None,
    method: Method = "auto",
    read: Read = last_position,
    group: Callable[[str], str] | None = None,
    tile: int | None = None,
    memory: int | None = None,
    features: int = 512,
    seed: int = 0,
    advance: Advance = lambda done, total: None,
) -> TangentKernel:
    """The kernel of a model between the samples x and y, and how it was computed.

    x: [N, T] tokens, [N, D] numbers, or whatever the model takes, samples first; `Samples` for several inputs or sequences of
        different lengths. Real numbers are taken to float64.
    y: [M, ...]; left out, it is x.
    output: "trace", "full", or the index of one output.
    parameters: patterns of names such as "blocks.0.*", or a function of the name; left out, all that require gradients. A tied
        one is counted once.
    method: the engine; "auto" is the structured one.
    read: from the model's output to f [N, O]; by default what it says at the last token.
    group: from a parameter's name to its group, whose kernels are kept as parts; `by_layer` is one.
    tile: samples in a pass; fewer need less memory and more passes. Left out, all of them.
    memory: bytes that may be used; left out, what the machine has free.
    features, seed: of the projected engine, how many random directions and their draw.
    advance: called with (outputs done, outputs in all).

    The model is left as it is.

    Raises ValueError for a model whose samples are not independent (batch normalisation or dropout in training), one without a
    parameter to count, and a `read` that does not give real numbers [N, O]; NotEnoughMemoryError, with the plan and what would
    fit, before anything large is made.
    """
    first, second = Samples.of(_no_name(x)), None if y is None else Samples.of(_no_name(y))
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    engine = "structured" if method == "auto" else method
    if group is not None and engine not in ENGINES:
        raise ValueError(f'the {engine} engine does not split a kernel by parameters; use method="structured"')
    with torch.inference_mode(False), torch.enable_grad():
        groups = list(dict.fromkeys((group or _everything)(name) for name in chosen(model, parameters)))
        most = max(len(first), len(first if second is None else second))
        task = KernelTask(model, first, second, output, read, parameters, most if tile is None else tile)
        foreseen = plan(task, engine, groups=len(groups), features=features)
        check_memory(foreseen, memory, first.inputs[0].device)
        if engine == "projected":
            values, error, routes = projected_kernel(task, features, seed)
            return TangentKernel(values, engine, routes, {}, foreseen, error)
        if engine == "ghost":
            values, routes = ghost_kernel(task)
            return TangentKernel(values, engine, routes, {}, foreseen)
        empty = first.inputs[0].new_zeros(_shape(foreseen, output), dtype=torch.float64)
        parts = {name: empty.clone() for name in groups}
        routes = {}
        for name, rows, columns, block in ENGINES[engine](task, routes, advance):
            _add(parts[(group or _everything)(name)], rows, columns, block, mirrored=second is None and rows != columns)
    values = torch.stack(list(parts.values())).sum(0) if group else parts[groups[0]]
    return TangentKernel(values, engine, routes, parts if group else {}, foreseen)


def by_layer(name: str) -> str:
    """A group for `tangent_kernel`: the layer that a parameter belongs to; outside the layers its module, such as "embed"."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return parts[0] if number is None else ".".join(parts[: number + 1])


Blocks = Iterator[tuple[str, slice, slice, Tensor]]  # a parameter's kernel at rows and columns; several of one add up


def _structured(task: KernelTask, routes: dict[str, Route], advance: Advance) -> Blocks:
    """Of each output the rows of both sides, one parameter after another; for all outputs, the rows are gathered first."""

    def of(samples: Samples) -> Jacobian:
        made = Jacobian(task.model, samples, task.read, task.parameters)
        _note(routes, made.routes)
        return made

    for rows, columns, one, other in task.tiles(of):
        indices = task.indices(one.values.shape[1])
        gathered: list[tuple[dict[str, Factor], dict[str, Factor]]] = []
        for done, index in enumerate(indices):
            left = one.rows(index)
            right = left if other is one else other.rows(index)
            if task.output == "full":
                gathered.append((left, right))
            else:
                for name in left.keys() & right.keys():
                    yield name, rows, columns, inner(left[name], right[name])
            advance(done + 1, len(indices))
        if gathered:
            for name in {name for left, _ in gathered for name in left}:
                one_side = _of_all(name, [left for left, _ in gathered], len(one.samples))
                other_side = one_side if other is one else _of_all(name, [right for _, right in gathered], len(other.samples))
                if one_side and other_side:
                    yield name, rows, columns, inner_of_all(one_side, other_side)


def _of_all(name: str, rows: list[dict[str, Factor]], samples: int) -> list[Factor]:
    """The rows of a parameter for every output, zeros for one that does not depend on it; none where no output does."""
    found = next((own[name] for own in rows if name in own), None)
    if found is None:
        return []
    return [own[name] if name in own else Dense(found.total().new_zeros(samples, len(found.total()))) for own in rows]


def _whole(task: KernelTask, routes: dict[str, Route], advance: Advance) -> Blocks:
    """By torch.func's Jacobians."""
    for rows, columns, one, other in task.tiles(lambda samples: whole_jacobian(task.model, samples, task.read, task.parameters)):
        for name, block in contracted(one, other, task.output):
            routes[name] = "whole"
            yield name, rows, columns, block


ENGINES: dict[str, Callable[[KernelTask, dict[str, Route], Advance], Blocks]] = {"structured": _structured, "jacobian": _whole}


def _note(routes: dict[str, Route], found: dict[str, Route]) -> None:
    """Keep the costlier route where tiles differ."""
    for name, route in found.items():
        if routes.get(name) != "alone":
            routes[name] = route if route != "unused" or name not in routes else routes[name]


def _add(kernel: Tensor, rows: slice, columns: slice, block: Tensor, *, mirrored: bool) -> None:
    block = block.detach().to(kernel.device)  # the kernel of a model on a GPU is kept on the CPU
    if kernel.ndim == 2:
        kernel[rows, columns] += block
        if mirrored:
            kernel[columns, rows] += block.mT
    else:
        kernel[rows, :, columns] += block
        if mirrored:
            kernel[columns, :, rows] += block.permute(2, 3, 0, 1)


def _shape(foreseen: Plan, output: Output) -> tuple[int, ...]:
    (n, m), outputs = foreseen.samples, foreseen.outputs
    return (n, outputs, m, outputs) if output == "full" else (n, m)


def _everything(name: str) -> str:
    return "all"


def _no_name(x: Tensor | Samples) -> Tensor | Samples:
    if isinstance(x, str):
        raise TypeError(f"{x!r} stands where samples do; name it: output={x!r}")
    return x
