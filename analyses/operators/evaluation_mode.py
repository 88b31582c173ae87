"""Models whose outputs are of each sample alone and the same at every pass, which what differentiates them relies on."""

from __future__ import annotations

from torch import nn


def refuse_training_mode(model: nn.Module) -> None:
    """Raise ValueError, naming the module, for batch normalisation or dropout in training."""
    for name, module in model.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise ValueError(
                f"{name or 'the model'} ({type(module).__name__}) is in training mode, which couples samples or draws anew at "
                "each pass; use model.eval()"
            )
