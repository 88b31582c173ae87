"""How long directions of a state last: Lyapunov exponents of the products of transitions, and the half-lives that follow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...kernels.products import UnresolvedError, lyapunov_exponents
from ..models import Models, named_models, transitions_of
from .results.memory_horizon import NEUTRAL, MemoryHorizon


def memory_horizon(models: Models, tokens: Tensor, *, jacobians: bool = False) -> MemoryHorizon:
    """The Lyapunov exponents lambda_1 >= lambda_2 ... of A_T ... A_1 over each sequence, and the half-lives ln 2 / -lambda.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    jacobians: take cells too, with the Jacobian d state_t / d state_{t-1} of each token in place of a transition. Their exponents
        say how a small change of the state grows or fades along these sequences.

    By QR in float64, with scalar decays kept as logarithms (see `lyapunov_exponents`); the exponents of T tokens are finite-time
    ones, of these sequences, and their sum is the mean log |det A_t|. Those of a few tokens depend on the basis that is carried;
    the singular values of their product, which do not, are in `lasting_directions`. Where directions lie further apart than
    float64 resolves, only the fastest that it does are given, and `about["unresolved"]` names where. Raises ValueError for a
    model without a layer that has a linear transition.
    """
    named, rows, unresolved = named_models(models), [], []
    for name, model in named.items():
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians):
            exponents = _resolved(transition.each(lambda part: part.movedim(1, 2)))
            if exponents.shape[-1] < transition.size:
                unresolved.append(f"{name}, layer {layer}")
            for (sequence, head, index), exponent in np.ndenumerate(exponents.numpy()):
                rows.append((name, layer, head, sequence, index + 1, exponent, half_life(exponent)))
    about = {"tokens": tokens.shape[1], "sequences": len(tokens), "models": list(named), "unresolved": unresolved}
    return MemoryHorizon(pd.DataFrame(rows, columns=list(MemoryHorizon.columns)), about)


def half_life(exponent: float) -> float:
    """Tokens until a direction of this exponent (nats a token) is halved; 0 where it is erased, inf where it does not decay."""
    return math.inf if exponent >= -NEUTRAL else math.log(2) / -exponent


def _resolved(transition: Transition) -> Tensor:
    """The exponents of transitions [B, H, T]: all, or as many of the fastest as float64 tells apart."""
    try:
        return lyapunov_exponents(transition)
    except UnresolvedError:
        found, too_many = lyapunov_exponents(transition, count=1), transition.size
    while too_many - found.shape[-1] > 1:
        count = (found.shape[-1] + too_many) // 2
        try:
            found = lyapunov_exponents(transition, count=count)
        except UnresolvedError:
            too_many = count
    return found
