"""How many states a time-invariant layer needs: its Hankel singular values, and the error of a truncation that they bound."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..models import Models, linear_systems_of, named_models
from .results.hankel_spectrum import HankelSpectrum


def hankel_spectrum(models: Models) -> HankelSpectrum:
    """The Hankel singular values of every system of every time-invariant layer, in float64.

    models: a model, or several by name. Raises ValueError for a model without a time-invariant layer, and UnstableSystemError
    where a pole is not inside the unit circle.
    """
    tables = []
    for name, model in named_models(models).items():
        for layer, system in linear_systems_of(model):
            values = system.hankel_singular_values().numpy()
            head, index = np.indices(values.shape)
            after = values[:, ::-1].cumsum(1)[:, ::-1] - values
            total = values.sum(1, keepdims=True)
            columns = {"system": head, "index": index + 1, "value": values, "share": values / total, "bound": 2 * after}
            tables.append(pd.DataFrame({key: part.ravel() for key, part in columns.items()}).assign(model=name, layer=layer))
    return HankelSpectrum(pd.concat(tables, ignore_index=True)[list(HankelSpectrum.columns)])
