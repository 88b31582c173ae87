"""Spectra by what the token is, or by what is true after it: what does this head do on a 1, on an opening bracket?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from ..models import Models
from .results.by_label import SpectrumByLabel
from .transition_spectrum import transition_spectrum


def spectrum_by_label(
    models: Models,
    tokens: Tensor,
    labels: Mapping[str, Tensor],
    *,
    texts: Mapping[str, Sequence[str]] | None = None,
    jacobians: bool = False,
) -> SpectrumByLabel:
    """The eigenvalues of every transition, by the classes of its token.

    models: a model, ours or a loaded one, or several by name.
    tokens: [B, T].
    labels: name -> [B, T] whole numbers, such as {"token": tokens, "depth": ...}; -100 leaves a token out.
    texts: name -> the classes of a label as text; without it they are their numbers.
    jacobians: take cells too, as in `transition_spectrum`.

    Raises ValueError for no label, for a label of another shape or of real numbers, or that leaves every token out, for classes
    without a text where texts are given, and for a model without linear transitions.
    """
    if not labels:
        raise ValueError('give a label to tell tokens apart by, such as {"token": tokens}')
    spectrum = transition_spectrum(models, tokens, jacobians=jacobians).table
    tables = []
    for name, values in labels.items():
        if values.shape != tokens.shape[:2] or values.is_floating_point():
            wanted = list(tokens.shape[:2])
            raise ValueError(f"label {name!r} is {list(values.shape)} {values.dtype}; tokens need whole numbers {wanted}")
        classes = values.cpu().numpy()[spectrum["sequence"], spectrum["position"]]
        own = spectrum.assign(label=name, **{"class": classes})[classes != -100]
        words = (texts or {}).get(name)
        if own.empty:
            raise ValueError(f"label {name!r} leaves every token out")
        if words is not None and not 0 <= own["class"].min() <= own["class"].max() < len(words):
            raise ValueError(
                f"label {name!r} has classes from {own['class'].min()} to {own['class'].max()}, and {len(words)} texts for them"
            )
        own["class"] = [str(value) if words is None else words[value] for value in own["class"]]
        tables.append(own.sort_values("class", key=lambda column: column.map(_numeric), kind="stable"))
    found = pd.concat(tables, ignore_index=True)[list(SpectrumByLabel.columns)]
    return SpectrumByLabel(found, {"labels": list(labels), "sequences": len(tokens), "tokens": tokens.shape[1]})


def _numeric(text: str) -> tuple[int, float, str]:
    """Numbers in their order, before other text."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
