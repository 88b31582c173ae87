"""Tensors in double precision, for what differentiates by them more exactly than the module runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def precise(value: Tensor) -> Tensor:
    """A detached copy in float64 or complex128; whole numbers as they are."""
    inexact = value.is_floating_point() or value.is_complex()
    return value.detach().to(torch.promote_types(value.dtype, torch.float64) if inexact else value.dtype, copy=True)


def precise_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies in float64 or complex128: of the parameters that require gradients, by name, and of the others and the buffers.

    Whole numbers stay as they are. Raises ValueError where no parameter requires gradients.
    """
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    copies = {name: precise(value) for name, value in held.items()}
    trained = {name: copies.pop(name) for name, value in module.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("no parameter of the model has requires_grad")
    return trained, copies
