"""How sharply the loss bends: the largest eigenvalues of its Hessian (Cohen et al. 2021, arXiv:2103.00065)."""

from __future__ import annotations

import math

import pandas as pd
import torch

from ...probe.models.model import Model
from ...probe.runs.training import loss_on
from ...probe.tasks.base import Batch
from ..operators.curvature import Hessian
from ..operators.lanczos import top_eigenpairs
from .results.sharpness import Sharpness


def sharpness(model: Model, batch: Batch, *, count: int = 3, seed: int = 0, tolerance: float = 1e-3) -> Sharpness:
    """The `count` largest eigenvalues of H = d2 loss / d parameters2 on a batch, in float64 and without forming H.

    The loss is the mean that training lowers. Gradient descent of a step size r is stable along an eigenvector while its
    eigenvalue is below 2 / r; what adaptive methods allow is another bound. seed: of the start vector. tolerance: on each pair's
    residual, as a share of the largest eigenvalue.

    Where the Hessian has fewer different eigenvalues than `count`, all of them are given. Raises ValueError as `top_eigenpairs`
    does for a count beyond the number of parameters, and for a loss that is not finite, as of a batch without targets.
    """
    inputs = batch.tokens
    with torch.no_grad():
        loss = float(loss_on(model(inputs), batch.targets))
    if not math.isfinite(loss):
        raise ValueError(f"the loss of this batch is {loss}; give one with targets that count, and a model that is finite")
    found = top_eigenpairs(
        Hessian(model, loss_on, [(inputs, batch.targets)]), count, torch.Generator().manual_seed(seed), tolerance=tolerance
    )
    values, residuals = found.values.tolist(), found.residuals.tolist()
    table = pd.DataFrame({"place": range(1, len(values) + 1), "eigenvalue": values, "residual": residuals})
    return Sharpness(table, {"loss": loss, "sequences": len(inputs), "tokens": inputs.shape[1], "seed": seed})
