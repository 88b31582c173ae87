"""Layer-sequential unit-variance initialisation: every linear map is scaled by what it gives on data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@torch.no_grad()
def unit_variance_(
    model: nn.Module, *inputs: Any, generator: torch.Generator, tolerance: float = 0.01, most: int = 10
) -> dict[str, int]:
    """Draw the linear maps and convolutions of a model anew, in place, so that each gives outputs of variance one on these
    inputs.

    Each weight is drawn orthonormal, and then, in the order in which the model calls them, divided by the standard deviation of
    its outputs until their variance is within `tolerance` of one (Mishkin and Matas 2015, arXiv:1511.06422). Biases stay as they
    are. In a deep stack neither signals nor, of orthonormal maps, gradients vanish or explode at the start.

    inputs: a batch that the model is called with. most: rescalings of a layer; one does for a layer that is called once.
    The result says how often each layer, by its name, was rescaled.

    Raises ValueError for a model without such layers, for layers that are not called on these inputs, for one whose outputs do
    not vary or are not finite, and where `most` rescalings do not suffice.
    """
    layers = {module: name for name, module in model.named_modules() if isinstance(module, LAYERS)}
    order = list(output_variances(model, inputs, list(layers)))
    if not order or len(order) < len(layers):
        missed = [name for module, name in layers.items() if module not in order]
        raise ValueError(f"no layer to scale, or not called on these inputs: {', '.join(missed) or 'none'}")
    rescaled = {}
    for module in order:
        _set(module, _orthonormal(module.weight, generator))
        for taken in range(most + 1):
            variance = output_variances(model, inputs, [module])[module]
            if abs(variance - 1) < tolerance:
                break
            if not 0 < variance < float("inf") or taken == most:
                raise ValueError(f"{layers[module]}: outputs of variance {variance:.3g} after {taken} rescalings")
            _set(module, module.weight / variance**0.5)
        rescaled[layers[module]] = taken
    return rescaled


def output_variances(model: nn.Module, inputs: tuple[Any, ...], modules: Iterable[nn.Module]) -> dict[Any, float]:
    """The variance of all numbers that each module gives in a pass, in the order of their first calls."""
    kept: dict[nn.Module, list[Tensor]] = {}

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        kept.setdefault(module, []).append(output.double().flatten())

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {module: float(torch.cat(outputs).var()) for module, outputs in kept.items()}


def _orthonormal(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Rows or columns, whichever are fewer, at right angles and of length one."""
    rows, columns = len(weight), weight[0].numel()
    drawn = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    q = q * r.diagonal().sign()  # so that it is uniform among them
    return (q if rows >= columns else q.T).reshape(weight.shape).to(weight)


def _set(module: nn.Module, weight: Tensor) -> None:
    """Write a weight through its parametrisation, where it has one."""
    if is_parametrized(module, "weight"):
        module.weight = weight
    else:
        assert isinstance(module.weight, Tensor)
        module.weight.copy_(weight)
