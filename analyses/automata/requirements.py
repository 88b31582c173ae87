"""What a model's transitions would let one layer track, beside what each kind of task needs of them.

    parity            an eigenvalue that is no non-negative real number: with all in [0, 1] finite precision loses it
                      (Grazzi et al. 2025, arXiv:2411.12537)
    modulo m > 2      a token, or a product of tokens, with an eigenvalue that is not real (the same)
    one token turns   such an eigenvalue of a single token, which rotates: a 3-cycle of S3 takes two reflections a token (Siems et
                      al. 2025, arXiv:2502.10297)

What is needed must last: an eigenvalue of modulus r is halved every ln 2 / -ln r tokens, so beside each stands that half-life.
Met means that the tokens seen have such an eigenvalue that is not halved within the sequence. These are conditions that are
needed, for one layer; that they are met does not show that the task is solved.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import Models, length_of, named_models, transitions_of
from ..spectra.memory_horizon import half_life
from ..spectra.window_spectrum import product_eigenvalues
from .results.requirements import TrackingRequirements

TURNED = 1e-6  # radians: nearer to the real line an eigenvalue is real but for rounding


def tracking_requirements(models: Models, tokens: Tensor) -> TrackingRequirements:
    """Look for the eigenvalues that parity, counting and rotations need, in every head's transitions.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T], two or more; products are of neighbours.

    Raises ValueError for a model without linear transitions, and for sequences of one token.
    """
    if length_of(tokens) < 2:
        raise ValueError("products of tokens need sequences of two or more")
    rows = []
    for name, model in named_models(models).items():
        for layer, transition in transitions_of(model, tokens):
            single, pairs = (_per_token(transition, count) for count in (1, 2))
            for head in range(transition.shape[2]):
                kinds = {
                    "parity": ("a negative or complex eigenvalue", [_chosen(single, head, flipped=True)]),
                    "modulo m > 2": ("a complex eigenvalue of a token or two", [_chosen(single, head), _chosen(pairs, head)]),
                    "one token turns": ("a complex eigenvalue of one token", [_chosen(single, head)]),
                }
                for task, (needs, found) in kinds.items():
                    modulus, angle = max(found, key=lambda pair: -1.0 if np.isnan(pair[0]) else pair[0])
                    life = np.nan if np.isnan(modulus) else half_life(float(np.log(max(modulus, 1e-300))))
                    rows.append((name, layer, head, task, needs, modulus, angle, life, bool(life >= tokens.shape[1])))
    about = {"sequences": len(tokens), "tokens": tokens.shape[1]}
    return TrackingRequirements(pd.DataFrame(rows, columns=list(TrackingRequirements.columns)), about)


def _per_token(transition: Transition, count: int) -> tuple[Tensor, Tensor]:
    """The modulus a token and the angle of the eigenvalues of products of `count` neighbours, each [B, T - count + 1, H, K]."""
    length = transition.shape[1]
    parts = [transition.each(partial(torch.narrow, dim=1, start=first, length=length - count + 1)) for first in range(count)]
    windows = Transition(*(torch.stack(own) for own in zip(*(part.parts for part in parts), strict=True)))
    log_modulus, angle, resolved = product_eigenvalues(windows, axis=0)
    return (log_modulus / count).exp() * resolved, angle


def _chosen(spectrum: tuple[Tensor, Tensor], head: int, *, flipped: bool = False) -> tuple[float, float]:
    """The largest modulus, and its angle, of the eigenvalues of a head that are complex, or also negative."""
    modulus, angle = (part[:, :, head].flatten() for part in spectrum)
    off = angle.abs() > TURNED
    off = off if flipped else off & (torch.pi - angle.abs() > TURNED)
    off &= modulus > 0
    if not bool(off.any()):
        return np.nan, np.nan
    best = int(torch.where(off, modulus, -1.0).argmax())
    return float(modulus[best]), float(angle[best])
