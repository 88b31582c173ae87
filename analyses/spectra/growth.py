"""Products of transitions that grow although each of them seems not to: RWKV-7's, and a search for the worst.

A transition D - (a * k) k^T with |k| = 1, decays D in [e^{-e^{-1/2}}, 1] and rates a in [0, 1], as RWKV-7 has, is similar to a
symmetric matrix with eigenvalues in [-0.46, 1]. Its norm may be above 1, since the similarity is another one for each token, and
so a product of three may have a spectral radius above 1: repeated, these tokens blow up the state without writing anything.
With one rate for all channels and one decay, as in the delta rule, each transition is symmetric and no product grows.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...kernels.operators.transition import Transition
from ...probe.mixers.rwkv import LEAST_DECAY
from ...probe.tasks.base import generator_for
from .results.growth import ProductGrowth

RESTARTS = 48  # of the search, side by side
RATE = 0.1  # of Adam
SQUARINGS = 4  # P^16 is what the search makes large


def product_growth(
    channels: tuple[int, ...] = (3, 4, 8),
    periods: tuple[int, ...] = (2, 3),
    *,
    tokens: int = 120,
    steps: int = 300,
    seed: int = 0,
) -> ProductGrowth:
    """Search for the tokens whose repeated product grows most, and follow its norm.

    channels: sizes K. periods: tokens that are repeated. steps: of gradient ascent, from 48 starts. The radius found is a lower
    bound of what the family allows. Raises ValueError for none of them, and for one below 1.
    """
    if min(channels, default=0) < 1 or min(periods, default=0) < 1 or tokens < 1 or steps < 0:
        raise ValueError(
            f"channels={channels} and periods={periods} need a number each, and all of them and tokens={tokens} be at least 1"
        )
    rows = []
    for family in ("rwkv7", "delta rule"):
        for size in channels:
            for period in periods:
                transition = search(family, size, period, steps=steps, seed=seed)
                matrices = transition.dense()
                single = float(transition.eigenvalues().abs().max())
                radius = period_radius(matrices) ** (1 / period)
                product = torch.eye(size, dtype=torch.float64)
                for count in range(1, tokens + 1):
                    product = matrices[(count - 1) % period] @ product
                    norm = float(torch.linalg.matrix_norm(product, ord=2))
                    rows.append((family, size, period, count, norm, radius, single))
    return ProductGrowth(pd.DataFrame(rows, columns=list(ProductGrowth.columns)), {"steps": steps, "seed": seed})


def search(family: str, size: int, period: int, *, steps: int, seed: int) -> Transition:
    """The tokens [period] with the largest radius of their product that gradient ascent on log |P^16| finds."""
    generator = generator_for(seed, size, period)
    places = torch.randn(RESTARTS, 3, period, size, dtype=torch.float64, generator=generator).requires_grad_(True)
    adam = torch.optim.Adam([places], lr=RATE)
    for _ in range(steps):
        power = _period(transitions(family, places.sigmoid()).dense())
        for _ in range(SQUARINGS):
            power = power @ power
        growth = power.square().sum((-2, -1)).log()
        adam.zero_grad()
        (-growth.sum()).backward()
        adam.step()
    found = transitions(family, places.detach().sigmoid())
    radii = torch.linalg.eigvals(_period(found.dense())).abs().amax(-1)
    return found[int(radii.argmax())]


def transitions(family: str, shares: Tensor) -> Transition:
    """Transitions [..., period] of tokens [..., 3, period, K] in [0, 1]: places within the ranges of keys, rates and decays."""
    keys = normalize(2 * shares[..., 0, :, :] - 1, dim=-1)
    rates, decays = shares[..., 1, :, :], LEAST_DECAY + (1 - LEAST_DECAY) * shares[..., 2, :, :]
    if family == "delta rule":
        rates, decays = (part[..., :1].expand_as(part) for part in (rates, decays))
    return Transition.diagonal_plus_low_rank(keys, -rates * keys, decays.log())


def period_radius(matrices: Tensor) -> float:
    """The spectral radius of A_n ... A_1 for matrices [n, K, K]."""
    return float(torch.linalg.eigvals(_period(matrices)).abs().max())


def _period(matrices: Tensor) -> Tensor:
    """A_n ... A_1, [..., K, K]."""
    product = matrices[..., 0, :, :]
    for index in range(1, matrices.shape[-3]):
        product = matrices[..., index, :, :] @ product
    return product
