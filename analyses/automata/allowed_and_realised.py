"""What a family's transitions may be, beside what the trained ones are on data, head by head, and the groups that either allows.

Of the family the verdict on a group is that of `group_verdict`. As trained, on the tokens seen, a group is

    possible      where the statement still holds with the eigenvalues that last: negative or complex, and not halved within the
                  sequence; so many in one token are its reflections
    impossible    where the statement that excludes it does for eigenvalues such as all of those seen
    open          elsewhere, and where a cell takes part, of which nothing is measured here
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...probe.mixers.spectrum import AllowedSpectrum
from ..models import Models, named_models, transitions_of
from .allowed_groups import LayerTransitions, group_verdict
from .results.allowed_and_realised import AllowedAndRealised, Word

TURNED = 1e-6

GROUPS = ("Z2", "Z3", "Z5", "S3", "A4", "S4", "A5", "S5")


def allowed_and_realised(models: Models, tokens: Tensor) -> AllowedAndRealised:
    """Compare the eigenvalues that each head shows on some tokens with those that its family allows.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].

    `about` has the verdict of theory on word problems, as said above: "groups" of the family, "trained" as trained, and
    "statements" the reason of the family's with its source. Raises ValueError for a model without linear transitions.
    """
    rows, allowed = [], {}
    groups: dict[str, dict[str, Word]] = {}
    trained: dict[str, dict[str, Word]] = {}
    statements: dict[str, dict[str, str]] = {}
    for name, model in named_models(models).items():
        layers = LayerTransitions.of_model(model)
        verdicts = {group: group_verdict(layers, group) for group in GROUPS}
        groups[name] = {group: verdict.word for group, verdict in verdicts.items()}
        statements[name] = {group: verdict.grounds for group, verdict in verdicts.items()}
        seen, lasting = list(layers), list(layers)
        for layer, transition in transitions_of(model, tokens):
            spectrum = layers[layer].allowed
            if spectrum is None:
                bounds = (np.nan, np.nan, False, 0, False)
            else:
                allowed[f"{name}, layer {layer}"] = str(spectrum)
                bounds = (spectrum.low, spectrum.high, spectrum.turns, spectrum.reflections, spectrum.chosen)
                for found, length in ((seen, None), (lasting, tokens.shape[1])):
                    found[layer] = replace(layers[layer], allowed=realised_spectrum(spectrum, transition, length))
            values, _ = transition.distinct_eigenvalues()
            for head in range(transition.shape[2]):
                own = values[:, :, head].flatten()
                off = own.imag.abs() > TURNED
                angle = float(own[off].angle().abs().max()) if bool(off.any()) else 0.0
                reached = (float(own.real.min()), float(own.real.max()), angle, float(own.abs().max()))
                rows.append((name, layer, head, *bounds, *reached))
        trained[name] = {group: _as_trained(seen, lasting, group) for group in GROUPS}
    about = {"allowed": allowed, "groups": groups, "trained": trained, "statements": statements}
    about |= {"sequences": len(tokens), "tokens": tokens.shape[1]}
    return AllowedAndRealised(pd.DataFrame(rows, columns=list(AllowedAndRealised.columns)), about)


def realised_spectrum(spectrum: AllowedSpectrum, transition: Transition, length: int | None = None) -> AllowedSpectrum:
    """What of a family's spectrum the transitions [B, T, H] of a layer use.

    length: of the negative and complex eigenvalues only those count that are not halved within so many tokens; all when None.
    """
    values, counts = transition.distinct_eigenvalues()
    turning = values.imag.abs() > TURNED
    moved = turning | (values.real < -TURNED)
    if length is not None:
        lasts = values.abs() >= 0.5 ** (1 / length)
        turning, moved = turning & lasts, moved & lasts
    low = float(values.real.min()) if bool(moved.any()) else max(0.0, spectrum.low)
    most = int((moved * counts).sum(-1).max())
    return replace(spectrum, low=low, turns=bool(turning.any()), reflections=min(spectrum.reflections, most))


def _as_trained(seen: Sequence[LayerTransitions], lasting: Sequence[LayerTransitions], group: str) -> Word:
    if any(layer.has_state and not layer.is_linear for layer in seen):
        return "open"
    if group_verdict(lasting, group).word == "possible":
        return "possible"
    return "impossible" if group_verdict(seen, group).word == "impossible" else "open"
