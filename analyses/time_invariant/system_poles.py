"""The poles of time-invariant layers: how fast each mode of the state decays and turns, whatever the tokens are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..models import Models, linear_systems_of, named_models
from ..spectra.memory_horizon import half_life
from .results.system_poles import SystemPoles


def system_poles(models: Models) -> SystemPoles:
    """The poles of every system of every time-invariant layer, in float64.

    models: a model, or several by name. The poles of a complex system come with their conjugates, since its output is real.
    Raises ValueError for a model without a time-invariant layer.
    """
    rows = []
    for name, model in named_models(models).items():
        for layer, system in linear_systems_of(model):
            for (head, _), pole in np.ndenumerate(system.poles().numpy()):
                modulus = abs(pole)
                life = half_life(float(np.log(modulus))) if modulus else 0.0
                rows.append((name, layer, head, pole.real, pole.imag, modulus, float(np.angle(pole)), life))
    return SystemPoles(pd.DataFrame(rows, columns=list(SystemPoles.columns)))
