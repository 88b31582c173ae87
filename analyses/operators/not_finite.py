"""Where a number that is none arose: in a parameter, a sample, a module, or a gradient.

A pass may hold some of the samples that were given. Errors count among all: `numbers` [N] are those of the pass's samples, which
are the first where it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from ...kernels.arguments import NonFiniteError


def finite_call(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor], numbers: Tensor | None = None) -> Any:
    """What a model gives with these parameters and buffers.

    Raises NonFiniteError, with where it arose, for a kernel within it that refuses NaN or infinity.
    """
    try:
        return functional_call(model, dict(tensors), tuple(inputs))
    except NonFiniteError as error:  # a kernel refuses what it is given, and does not know whose it is
        raise NonFiniteError(f"{error}; in the model, {origin(model, tensors, inputs, numbers)}") from error


def refuse_outputs(
    values: Tensor,
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    within: str = "",
    numbers: Tensor | None = None,
) -> None:
    """Raise NonFiniteError where outputs f [N, ...] hold NaN or infinity, with the first such sample and where it came from.

    within: what holds these samples, such as a batch among several.
    """
    bad = ~values.detach().isfinite().reshape(len(values), -1).all(1)
    if bool(bad.any()):
        raise NonFiniteError(
            f"the outputs of sample {_number(int(bad.nonzero()[0]), numbers)}{within} are not finite: "
            f"{origin(model, tensors, inputs, numbers)}. Finite outputs of every sample are needed"
        )


def origin(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor], numbers: Tensor | None = None) -> str:
    """What was first not finite in a pass of the model: an input, or the output of a module.

    tensors: the parameters and buffers it runs with. An input may be -inf, as a mask of attention is.
    """
    for place, value in enumerate(inputs):
        if value.is_floating_point() or value.is_complex():
            wrong = (value.isnan() | value.isposinf() if value.is_floating_point() else ~value.isfinite()).nonzero()
            if len(wrong):
                first, *rest = index = tuple(wrong[0].tolist())
                return f"input {place} is {value[index].item()} at index {(_number(first, numbers), *rest)}"
    found: list[str] = []
    handles: list[RemovableHandle] = []
    for name, module in model.named_modules():
        own = f"{name or 'the model'} ({type(module).__name__})"

        def look(module: nn.Module, given: Any, output: Any, own: str = own) -> None:
            tensors = output if isinstance(output, tuple | list) else (output,)
            if any(isinstance(value, Tensor) and not bool(value.isfinite().all()) for value in tensors):
                found.append(own)

        handles.append(module.register_forward_hook(look))
    refused = ""
    try:
        with torch.no_grad():
            functional_call(model, dict(tensors), tuple(inputs))
    except NonFiniteError as error:  # a kernel refuses what it is given
        refused = str(error)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of {found[0]} is the first that is not" if found else refused or "`read` made them so"


def _number(place: int, numbers: Tensor | None) -> int:
    return place if numbers is None else int(numbers[place])


def refuse_gradients(gradients: Mapping[str, Tensor | None]) -> None:
    """Raise NonFiniteError where the gradient in a parameter, by its name, holds NaN or infinity."""
    for name, gradient in gradients.items():
        if gradient is not None and not bool(gradient.isfinite().all()):
            raise NonFiniteError(
                f"the outputs are finite, and their gradient in {name} is not: what stands behind it has no derivative at these "
                "samples, such as a root or a norm of zero"
            )
