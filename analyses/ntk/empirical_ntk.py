"""The empirical neural tangent kernel of a model, exact, from per-sample gradients layer by layer.

    Theta_ij = J_i J_j^T,   J_i = d f(x_i) / d parameters   [O, P]

"trace" sums it over the outputs, sum_o <J_io, J_jo> [N, N]; "full" keeps them, [N, O, N, O] (Jacot et al. 2018,
arXiv:1806.07572). One backward pass serves all samples of an output; the Jacobian is held for one output at a time.
Hooks see what enters each module and the gradient of what leaves it, so that kernels with their own backward pass, in-place
updates and recurrences are all served; `torch.func` would refuse some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...probe.errors import StatescopeError, unknown_name
from .per_sample import rule_for

Output = Literal["trace", "full"]
Read = Callable[[Tensor], Tensor]


class UncoveredParameterError(StatescopeError, ValueError):
    """A parameter whose per-sample gradient no rule gives, or gives wrongly."""


def last_position(logits: Tensor) -> Tensor:
    """The outputs at the last token, [N, vocabulary]."""
    return logits[:, -1]


def empirical_ntk(
    model: nn.Module,
    x: Tensor,
    output: Output = "trace",
    *,
    read: Read = last_position,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The kernel of a model on the samples x, in float64.

    x: [N, T] tokens, or whatever the model takes, samples first. read: from the model's output to f [N, O].
    advance: called with (outputs done, outputs in all).

    Raises UncoveredParameterError where a parameter that f depends on has no rule in `per_sample`, and ValueError for a
    model in training mode with dropout or batch normalisation, whose samples are not independent.
    """
    if output not in ("trace", "full"):
        raise unknown_name("output", str(output), ("trace", "full"))
    _refuse_coupled_samples(model)
    with _recording(model) as records:
        values = read(model(x))
    count, outputs = values.shape
    kernel = torch.zeros((count, count) if output == "trace" else (outputs, count, outputs, count), dtype=torch.float64)
    jacobians: list[Tensor] = []
    for index in range(outputs):
        gradients = _per_sample(model, records, values[:, index].sum())
        if index == 0:
            _check(model, gradients, values[:, 0].sum())
        flat = [gradient.flatten(1) for gradient in gradients.values()]
        if output == "trace":
            for gradient in flat:
                kernel += (gradient @ gradient.T).double()
        else:
            jacobians.append(torch.cat(flat, dim=1).double())
        advance(index + 1, outputs)
    if output == "trace":
        return kernel
    stacked = torch.stack(jacobians, dim=1)  # [N, O, P]
    return torch.einsum("iop,jqp->iojq", stacked, stacked)


@contextmanager
def _recording(model: nn.Module) -> Iterator[list[tuple[str, nn.Module, Any, Tensor]]]:
    """Record (name, module, input, output) of every call of a module with a rule."""
    records: list[tuple[str, nn.Module, Any, Tensor]] = []

    def record(name: str) -> Callable[..., None]:
        return lambda module, inputs, out: records.append((name, module, _detached(inputs[0]), out))

    with ExitStack() as stack, torch.enable_grad():
        for name, module in model.named_modules():
            if rule_for(module) is not None:
                stack.callback(module.register_forward_hook(record(name)).remove)
        yield records


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _per_sample(model: nn.Module, records: list[tuple[str, nn.Module, Any, Tensor]], total: Tensor) -> dict[str, Tensor]:
    """The gradient of each sample's output for each parameter, [N, ...]."""
    gradients = torch.autograd.grad(total, [out for *_, out in records], retain_graph=True, allow_unused=True)
    found: dict[str, Tensor] = {}
    for (name, module, inputs, _), gradient in zip(records, gradients, strict=True):
        rule = rule_for(module)
        if gradient is None or rule is None:
            continue
        for own, value in rule(module, inputs, gradient).items():
            full = f"{name}.{own}" if name else own
            found[full] = found[full] + value if full in found else value
    return found


def _check(model: nn.Module, found: dict[str, Tensor], total: Tensor) -> None:
    """The per-sample gradients must add up to the gradient that autograd gives, parameter by parameter."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    whole = torch.autograd.grad(total, list(named.values()), retain_graph=True, allow_unused=True)
    tolerance = 1e-9 if total.dtype == torch.float64 else 1e-3
    for (name, parameter), gradient in zip(named.items(), whole, strict=True):
        if gradient is None:
            continue
        if name not in found:
            owner = type(model.get_submodule(name.rpartition(".")[0])).__name__
            raise UncoveredParameterError(f"the tangent kernel has no rule for {name} of a {owner}; add one to per_sample.RULES")
        error = float((found[name].sum(0).view_as(parameter) - gradient).norm() / gradient.norm().clamp(min=1e-30))
        if error > tolerance and float(gradient.norm()) > 1e-12:
            raise UncoveredParameterError(
                f"the per-sample gradients of {name} miss the whole gradient by {error:.2g} (relative): it is used outside "
                "its module"
            )


def _refuse_coupled_samples(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise ValueError(f"{name} ({type(module).__name__}) is in training mode, which couples samples; use model.eval()")
