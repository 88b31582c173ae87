"""The empirical neural tangent kernel of a model, between two sets of samples.

    Theta_ij = J_i J_j^T,   J_i = d f(x_i) / d parameters   [O, P]

"trace" sums it over the outputs, sum_o <J_io, J_jo> [N, M]; "full" keeps them, [N, O, M, O]; a number takes one output alone
(Jacot et al. 2018, arXiv:1806.07572). All are float64. The engines:

    structured   One backward pass an output for a few samples at a time, and of each parameter what the gradient says of each
                 sample where the parameter meets the data (`passes`, `jacobian`); each matrix by the cheaper of two exact
                 routes (`factors`). Works through custom kernels. The default.
    jacobian     Whole Jacobians by torch.func: the reference, with the memory that this takes.
    ghost        A column at a time, from products with vectors by two backward passes (`operator`).
    projected    From random projections of the gradients, with a standard error of each entry (`projection`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ...kernels.shown import with_shapes
from ...probe.errors import unknown_name
from .ghost import ghost_kernel
from .jacobian import Parameters, Route, chosen, double_tensors
from .plan import Plan, check_memory, plan
from .projection import projected_kernel
from .reference import whole_kernel
from .samples import Read, Samples, last_position
from .structured import structured_kernel
from .task import Advance, EngineResult, KernelTask, Output, as_output, as_tile

Method = Literal["auto", "structured", "jacobian", "ghost", "projected"]
ENGINES: dict[str, Callable[[KernelTask], EngineResult]] = {
    "structured": structured_kernel,
    "jacobian": whole_kernel,
    "ghost": ghost_kernel,
    "projected": projected_kernel,
}
METHODS = ("auto", *ENGINES)


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

    __repr__ = with_shapes

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
    tile: samples whose passes are kept at once; fewer need less memory, and run the model again. Left out, all of them.
    memory: bytes that may be used; left out, what the machine has free.
    features, seed: of the projected engine, how many random directions and their draw.
    advance: called with (outputs done, outputs in all).

    The model is left as it is.

    Raises ValueError for a model whose samples are not independent (batch normalisation or dropout in training), one without a
    parameter to count or with one that has no values yet, a `read` that does not give real numbers [N, O], and a tile that is no
    positive whole number; UnknownNameError or IndexError for an output that is none; NotEnoughMemoryError, with the plan and what
    would fit, before anything large is made.
    """
    first, second = Samples.of(_no_name(x)), None if y is None else Samples.of(_no_name(y))
    output = as_output(output)
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    engine = "structured" if method == "auto" else method
    with torch.inference_mode(False), torch.enable_grad():
        own = group or (lambda name: "all")
        groups = set(map(own, chosen(model, parameters)))
        tile = max(len(first), len(first if second is None else second)) if tile is None else as_tile(tile)
        tensors = double_tensors(model, parameters)
        task = KernelTask(model, first, second, output, read, parameters, tensors, tile, own, features, seed, advance)
        foreseen = plan(task, engine, groups=len(groups))
        check_memory(foreseen, memory, first.inputs[0].device)
        found = ENGINES[engine](replace(task, in_a_pass=foreseen.in_a_pass))
    values = torch.stack(list(found.parts.values())).sum(0) if group else next(iter(found.parts.values()))
    return TangentKernel(values, engine, found.routes, found.parts if group else {}, foreseen, found.standard_error)


def by_layer(name: str) -> str:
    """A group for `tangent_kernel`: the layer that a parameter belongs to, "blocks.0"; outside the layers its module, "embed"."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[:-1] or parts) if number is None else ".".join(parts[: number + 1])


def _no_name(x: Tensor | Samples) -> Tensor | Samples:
    if isinstance(x, str):
        raise TypeError(f"{x!r} stands where samples do; name it: output={x!r}")
    return x
