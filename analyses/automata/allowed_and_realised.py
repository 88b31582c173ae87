"""What a family's transitions may be, beside what the trained ones are on data, head by head."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import Tensor

from ..models import Models, named_models, transitions_of
from .allowed_groups import LayerTransitions, group_verdict
from .results.allowed_and_realised import AllowedAndRealised

TURNED = 1e-6


GROUPS = ("Z2", "Z3", "Z5", "S3", "A4", "S4", "A5", "S5")


def allowed_and_realised(models: Models, tokens: Tensor) -> AllowedAndRealised:
    """Compare the eigenvalues that each head shows on some tokens with those that its family allows.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].

    `about["groups"]` has the verdict of theory on word problems (see `group_verdict`). Raises ValueError for a model without
    linear transitions.
    """
    rows, allowed, groups = [], {}, {}
    for name, model in named_models(models).items():
        layers = LayerTransitions.of_model(model)
        groups[name] = {group: group_verdict(layers, group).word for group in GROUPS}
        for layer, transition in transitions_of(model, tokens):
            spectrum = layers[layer].allowed
            if spectrum is None:
                bounds = (np.nan, np.nan, False, 0, False)
            else:
                allowed[f"{name}, layer {layer}"] = str(spectrum)
                bounds = (spectrum.low, spectrum.high, spectrum.turns, spectrum.reflections, spectrum.chosen)
            values, _ = transition.distinct_eigenvalues()
            for head in range(transition.shape[2]):
                own = values[:, :, head].flatten()
                off = own.imag.abs() > TURNED
                angle = float(own[off].angle().abs().max()) if bool(off.any()) else 0.0
                seen = (float(own.real.min()), float(own.real.max()), angle, float(own.abs().max()))
                rows.append((name, layer, head, *bounds, *seen))
    about = {"allowed": allowed, "groups": groups, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return AllowedAndRealised(pd.DataFrame(rows, columns=list(AllowedAndRealised.columns)), about)
