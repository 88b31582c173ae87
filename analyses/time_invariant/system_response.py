"""What a time-invariant layer answers to an impulse and to each frequency."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..models import Models, linear_systems_of, named_models
from .results.system_response import SystemResponse

ANGLES = 129  # of the frequency response, from 0 to pi


def system_response(models: Models, length: int = 128) -> SystemResponse:
    """The impulse response for `length` tokens, and the frequency response at 129 angles from 0 to pi, in float64.

    models: a model, or several by name. Raises ValueError for a length below 1, and a model without a time-invariant layer.
    """
    if length < 1:
        raise ValueError(f"an impulse response needs at least 1 token, got length={length}")
    angles = torch.linspace(0, math.pi, ANGLES, dtype=torch.float64)
    tables = []
    for name, model in named_models(models).items():
        for layer, system in linear_systems_of(model):
            for view, at, response in (
                ("impulse", torch.arange(length), system.impulse_response(length)),
                ("frequency", angles, system.frequency_response(angles)),
            ):
                tables.append(_table(response, at).assign(model=name, layer=layer, view=view))
    return SystemResponse(pd.concat(tables, ignore_index=True)[list(SystemResponse.columns)], {"length": length})


def _table(response: Tensor, at: Tensor) -> pd.DataFrame:
    """[H, n, P, M] as rows."""
    single = response.shape[-2:] == (1, 1)
    gain = response[..., 0, 0].abs() if single else torch.linalg.matrix_norm(response, ord=2)
    phase = response[..., 0, 0].angle() if single else torch.full_like(gain, torch.nan)
    system, index = np.indices(gain.shape)
    columns = {"system": system, "at": at.numpy().astype(float)[index], "gain": gain.numpy(), "phase": phase.numpy()}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})
