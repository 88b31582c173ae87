"""What tangent kernels are compared with: the gradient of each output of each sample, from a pass of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DOUBLE = torch.float64


def close(found: Tensor, exact: Tensor, tolerance: float = 1e-12) -> None:
    assert (found - exact).norm() <= tolerance * exact.norm()


def by_autograd(model: nn.Module, x: Tensor) -> Tensor:
    """[N, O, N, O] from the gradient of each output of each sample, from a pass of its own."""
    model, x = model.double(), x.double() if x.is_floating_point() else x
    parameters = list(model.parameters())
    rows = []
    for sample in x:
        values = model(sample[None])[0]
        for value in values if values.ndim == 1 else values[-1]:
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    stacked = torch.stack(rows).unflatten(0, (len(x), -1))
    return torch.tensordot(stacked, stacked, ([2], [2]))
