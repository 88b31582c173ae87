"""What a time-invariant layer answers to an impulse and to each frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..models import Models, linear_systems_of, named_models

ANGLES = 129  # of the frequency response, from 0 to pi


@dataclass(frozen=True)
class SystemResponse(Result, kind="system_response"):
    """The gains of every system of each layer by tokens since an impulse, and by frequency."""

    title: ClassVar[str] = "Responses"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "system": "which of the layer's systems",
        "view": "impulse or frequency",
        "at": "tokens since the impulse, or radians a token",
        "gain": "spectral norm of C A^t B, or of the transfer function G(e^iw); with one input and output its modulus",
        "phase": "its angle in radians with one input and output; nan with more",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "system")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            peak = own[own["view"] == "frequency"].groupby("at")["gain"].mean()
            impulse = own[own["view"] == "impulse"].groupby("at")["gain"].mean()
            lines.append(
                f"{model}, layer {layer}: gain from {peak.min():.3g} to {peak.max():.3g}, at {peak.idxmax():.2f} rad a token; "
                f"an impulse is answered by {impulse.iloc[0]:.3g} at once and {impulse.iloc[-1]:.3g} after {impulse.index[-1]:g}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both responses of each layer: means over its systems, with the range."""
        panels = {"impulse": ("tokens since the impulse", "Impulse response"), "frequency": ("rad a token", "Frequency response")}
        drawn = []
        for view, (label, title) in panels.items():
            lines = [
                Line.of_rows(own, "at", "gain", f"{model}, layer {layer}")
                for (model, layer), own in self.table[self.table["view"] == view].groupby(["model", "layer"], sort=False)
            ]
            positive = all((line.y > 0).all() and (line.low is None or (line.low > 0).all()) for line in lines)
            drawn.append(Panel(lines, label, "gain", title, y_log=positive and view == "frequency"))
        return Figure(
            self.title,
            drawn,
            alt=f"Impulse and frequency responses of time-invariant layers. {self.summary()}",
            caption="Means over the systems of a layer, with the least and the largest.",
        )


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
