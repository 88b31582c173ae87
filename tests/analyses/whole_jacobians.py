"""The tangent kernel by torch.func's whole Jacobians, and small models to compare it on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from statescope import Model, ModelConfig


def by_torch_func(model: nn.Module, x: Tensor, read: Any) -> Tensor:
    """[N, O, N, O] from whole Jacobians in the parameters that are trained."""
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    jacobian = jacrev(lambda p: read(functional_call(model, p, (x,))))(parameters)
    flat = torch.cat([part.flatten(2) for part in jacobian.values()], dim=-1)
    return torch.einsum("iop,jqp->iojq", flat, flat)


def last(logits: Tensor) -> Tensor:
    return logits[:, -1]


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()
