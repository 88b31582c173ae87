"""Can products of the transitions grow? A certificate that they cannot, or a witness that they do.

The joint spectral radius of a set of matrices is the fastest growth of their products, the most a token that any order of them
can reach. For every m (Rota and Strang 1960; Daubechies and Lagarias 1992)

    max over products of m of rho(P)^(1/m)   <=   joint spectral radius   <=   max over products of m of |P|_2^(1/m).

With m = 1 on the right: transitions of norm at most 1 are a contraction, and no product grows. That is so for delta rules with
unit keys, beta in [0, 2] and no growth. It is not so for RWKV-7, each of whose transitions may have a spectral radius of 1 and a
norm above it: products of three can grow by half.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..models import Models, named_models, transitions_of
from .results.stability import Stability

ROUNDING = 1e-9
MOST_PRODUCTS = 20_000


def stability(models: Models, tokens: Tensor, *, transitions: int = 16, longest: int = 3) -> Stability:
    """Bound the joint spectral radius of the transitions that each head shows on some tokens.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    transitions: of each head that are combined, those of the largest norms. The upper bound is of these and the token of the
        largest spectral radius alone; the certificate of a contraction is of all that were seen.
    longest: products of 1 .. longest of them are tried, each order.

    Raises ValueError for a model without linear transitions, for fewer than one transition or length, and where there are more
    than 20,000 products.
    """
    if transitions < 1 or longest < 1:
        raise ValueError(f"transitions={transitions} and longest={longest} must be at least 1")
    if transitions**longest > MOST_PRODUCTS:
        raise ValueError(
            f"{transitions}^{longest} products are more than {MOST_PRODUCTS}; take fewer transitions or shorter ones"
        )
    rows = []
    for name, model in named_models(models).items():
        for layer, transition in transitions_of(model, tokens):
            norms, radii = transition.norm(), transition.eigenvalues().abs().amax(-1)
            for head in range(transition.shape[2]):
                own, single = norms[:, :, head].flatten(), radii[:, :, head].flatten()
                chosen = own.argsort(descending=True)[:transitions]
                matrices = transition[:, :, head].dense().flatten(0, 1)
                low, high, order = joint_spectral_radius(matrices[chosen], longest)
                high, witness = min(high, float(own.max())), [int(chosen[index]) for index in order]
                radius = float(single.max())
                if radius > low * (1 + ROUNDING):  # of a token whose norm is not among the largest
                    low, high, witness = radius, max(radius, high), [int(single.argmax())]
                verdict = "contraction" if own.max() <= 1 + ROUNDING else "grows" if low > 1 + ROUNDING else "open"
                said = " ".join("{}:{}".format(*divmod(place, tokens.shape[1])) for place in witness)
                rows.append((name, layer, head, float(own.max()), radius, low, high, said, verdict))
    about = {"transitions": transitions, "longest": longest, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return Stability(pd.DataFrame(rows, columns=list(Stability.columns)), about)


def joint_spectral_radius(matrices: Tensor, longest: int) -> tuple[float, float, tuple[int, ...]]:
    """A lower and an upper bound for matrices [n, K, K] from their products of 1 .. longest, and the product of the lower one.

    The witness names matrices in the order in which they are applied.
    """
    low, high = -1.0, np.inf
    witness: tuple[int, ...] = (0,)
    products = matrices
    orders: list[tuple[int, ...]] = [(index,) for index in range(len(matrices))]
    for length in range(1, longest + 1):
        if length > 1:
            products = (matrices[:, None] @ products).flatten(0, 1)  # the new one is applied last
            orders = [(*order, index) for index, order in product(range(len(matrices)), orders)]
        growth = torch.linalg.eigvals(products).abs().amax(-1) ** (1 / length)
        best = int(growth.argmax())
        if float(growth[best]) > low * (1 + ROUNDING):
            low, witness = float(growth[best]), orders[best]
        high = min(high, float(torch.linalg.matrix_norm(products, ord=2).max()) ** (1 / length))
    return low, max(low, high), witness
