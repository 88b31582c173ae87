"""How much of the past can be read back from the state of a time-invariant layer.

The state after a token is x_t = sum_j A^j B u_{t-j}: with a diagonal A of one input, a Vandermonde matrix of the poles times what
went in. From the state, seen with noise of variance s^2, the best linear reading of white inputs of variance 1 leaves of the
input of lag j a share 1 - m_j of the variance, with the memory curve

    m_j = B^T A^{jT} (P + s^2 I)^{-1} A^j B,    sum_j m_j = N without noise,

P the controllability Gramian (Jaeger 2001; Ganguli, Huh and Sompolinsky 2008): a state of N numbers holds N inputs, no more. How
well in floating point is said by the condition of the map from the last inputs to the state: it stays small for poles spread
around the unit circle, and explodes for real ones (Orvieto et al. 2024, arXiv:2307.11888).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.linear_system import LinearSystem
from ..models import Models, linear_systems_of, named_models
from .results.past_recovery import PastRecovery


def past_recovery(models: Models, length: int = 128, *, noise: float = 1e-12) -> PastRecovery:
    """The memory curve and the condition of every system of every time-invariant layer, in float64.

    models: a model, or several by name. length: lags. noise: s^2 beside the mean variance of a state; 1e-12 is about that of
    rounding to float32, and 1e-5 to bfloat16.

    Raises ValueError for a length below 1, negative noise and a model without a time-invariant layer, UnstableSystemError where
    a pole is not inside the unit circle.
    """
    if length < 1 or noise < 0:
        raise ValueError(f"length={length} must be at least 1, and noise={noise} not negative")
    tables = []
    inputs, states = {}, {}
    for name, model in named_models(models).items():
        for layer, system in linear_systems_of(model):
            where = f"{name}, layer {layer}"
            inputs[where], states[where] = system.b.shape[-1], system.size
            recovered, condition = memory_curve(system, length, noise), past_condition(system, length)
            head, lag = np.indices(recovered.shape)
            columns = {"system": head, "lag": lag, "recovered": recovered.numpy(), "condition": condition.numpy()}
            tables.append(pd.DataFrame({key: part.ravel() for key, part in columns.items()}).assign(model=name, layer=layer))
    about = {"noise": noise, "length": length, "inputs": inputs, "states": states}
    return PastRecovery(pd.concat(tables, ignore_index=True)[list(PastRecovery.columns)], about)


def memory_curve(system: LinearSystem, length: int, noise: float) -> Tensor:
    """m_j for j = 0 .. length - 1: [H, length], the mean over inputs. noise: s^2 beside the mean of P's diagonal."""
    basis, scale, _ = torch.linalg.svd(system.controllability_factor(), full_matrices=False)
    variance = scale.square()
    total = variance + noise * variance.sum(-1, keepdim=True) / system.size
    inverse = torch.where(total > 0, 1 / torch.where(total > 0, total, 1.0), 0.0)
    seen = basis.mT[:, None] @ system.krylov(length)
    curve: Tensor = (seen.square() * inverse[:, None, :, None]).sum(-2).mean(-1)
    return curve


def past_condition(system: LinearSystem, length: int) -> Tensor:
    """The condition of [B, A B, .., A^j B] for j = 0 .. length - 1: [H, length]; inf where a direction of the inputs is lost."""
    heads, size, inputs = system.b.shape
    columns = system.krylov(min(length, size // inputs)) if inputs <= size else system.krylov(1)[:, :0]
    found = torch.full((heads, length), torch.inf, dtype=columns.dtype)
    for lag in range(columns.shape[1]):
        singular = torch.linalg.svdvals(columns[:, : lag + 1].movedim(1, 2).flatten(2))
        least = singular[:, -1]
        resolved = least > size * torch.finfo(least.dtype).eps * singular[:, 0]
        found[:, lag] = torch.where(resolved, singular[:, 0] / torch.where(resolved, least, 1.0), torch.inf)
    return found
