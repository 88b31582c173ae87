"""On how many dimensions the states of a head lie, whatever surface they lie on.

    two neighbours    d = (n - 1) / sum_i log(r_i2 / r_i1), r_i1 and r_i2 the distances of a state to its two nearest: the ratio
                      is Pareto distributed with the dimension as its exponent where the density is even over that reach
                      (Facco et al. 2017). The sum is Gamma distributed, which gives the interval.
    k neighbours      1 / d = mean over states and over j < k of log(r_ik / r_ij) (Levina and Bickel 2004, averaged as by MacKay
                      and Ghahramani 2005)
    linear            (sum lambda)^2 / sum lambda^2 of the eigenvalues of the covariance, the participation ratio: the dimension
                      that a flat cloud of even axes would have

A curve in a plane has dimension 1 by the first two, and up to 2 by the last.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ...kernels.recurrence import Tap
from ..models import Models, named_models, real_parts, states_of
from .results.intrinsic_dimension import IntrinsicDimension

Values = NDArray[np.float64]
FEWEST = 20  # different states that have a dimension


def intrinsic_dimension(models: Models, tokens: Tensor, *, neighbours: int = 10) -> IntrinsicDimension:
    """The dimension of the states that each head visits on some sequences.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T]. neighbours: k, at least 3.

    A state is one vector, all its entries together, and states that are equal count once. Raises ValueError for a model without
    a state, and for fewer than 3 neighbours.
    """
    if neighbours < 3:
        raise ValueError(f"neighbours={neighbours} must be at least 3")
    rows = []
    for name, model in named_models(models).items():
        for layer, states in states_of(model, tokens, Tap(every=1)):
            for head in range(states.shape[2]):
                points = real_parts(states[:, :, head].flatten(2)).flatten(0, 1).numpy()
                rows.append((name, layer, head, *dimensions_of(points, neighbours), points.shape[1]))
    about = {"neighbours": neighbours, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return IntrinsicDimension(pd.DataFrame(rows, columns=list(IntrinsicDimension.columns)), about)


def dimensions_of(points: Values, neighbours: int = 10) -> tuple[int, float, float, float, float, float]:
    """Tell how many of points [n, D] differ, and their dimension: by two neighbours with its interval, by k, and linearly."""
    scale = float(np.abs(points).max(initial=0.0)) or 1.0
    points = np.unique((points / scale).round(9), axis=0)
    covariance = np.atleast_2d(np.cov(points.T)) if len(points) > 1 else np.zeros((1, 1))
    total, squares = float(np.trace(covariance)), float(np.square(covariance).sum())
    linear = total**2 / squares if squares else 0.0
    if len(points) < max(FEWEST, neighbours + 1):
        return len(points), np.nan, np.nan, np.nan, np.nan, linear
    distances = NearestNeighbors(n_neighbors=neighbours + 1).fit(points).kneighbors(points)[0][:, 1:]
    logs = np.log(distances[:, 1] / distances[:, 0])
    dimension = (len(points) - 1) / logs.sum()
    low, high = (stats.chi2.ppf(share, 2 * len(points)) / (2 * logs.sum()) for share in (0.025, 0.975))
    spread = np.log(distances[:, -1:] / distances[:, :-1])
    return len(points), dimension, low, high, 1 / spread.mean(), linear
