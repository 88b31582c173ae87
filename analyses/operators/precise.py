"""The tensors of a module in float64, for what differentiates by them more exactly than the module runs."""

from __future__ import annotations

from torch import Tensor, nn


def precise_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies in float64: of the parameters that require gradients, by name, and of the other parameters and the buffers.

    What is no real number stays as it is. Raises ValueError where no parameter requires gradients.
    """
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    copies = {name: value.detach().double() if value.is_floating_point() else value for name, value in held.items()}
    trained = {name: copies.pop(name).clone() for name, value in module.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("no parameter of the model has requires_grad")
    return trained, copies
