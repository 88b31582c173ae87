"""Curves and surfaces told apart without labels, and made flat: maximal coding rate reduction with an unknown membership.

How many nats unit vectors Z [n, d] take at a precision e, and how many where each part is coded on its own (Yu et al. 2020,
arXiv:2006.08558), is

    R(Z)      = 1/2 logdet(I + d / (n e^2) Z^T Z)
    R_c(Z, P) = sum_k m_k / (2 n) logdet(I + d / (m_k e^2) Z^T Diag(P_k) Z),     m_k = sum_i P_ik

for a membership P [n, k] without negative entries, whose rows add up to 1. The reduction R - R_c is large where the whole spans
many directions and each part few; parts on subspaces at right angles have the most. Ding et al. 2023 (arXiv:2301.01805) learn
both: Z and unit vectors C are two read-outs of one network of the states, every vector is the middle of a part, and P [n, n] is
the doubly stochastic e^(C C^T / temperature), scaled. Two disturbed copies of the states first learn to lie side by side in a Z
of the largest R, and C starts as a copy of Z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...kernels.shown import with_shapes

HIDDEN, LEARNING_RATE, BESIDE = 64, 3e-3, 20.0  # BESIDE weighs the cosine of two copies against R at the start


@dataclass(frozen=True)
class ManifoldClusters:
    """Parts of a set of states, and the features in which they lie on subspaces.

    clusters: [n], each from 0 to parts - 1. features: [n, d], unit vectors. membership: [n, n], doubly stochastic.
    reductions: [steps], R - R_c in nats before each step of the joint training.
    """

    clusters: NDArray[np.int64]
    features: Tensor
    membership: Tensor
    reductions: list[float]

    __repr__ = with_shapes


def manifold_clusters(
    states: Tensor,
    parts: int,
    *,
    dimension: int = 3,
    precision: float = 0.5,
    temperature: float = 0.5,
    jitter: float = 0.3,
    first_steps: int = 100,
    steps: int = 300,
    seed: int = 0,
) -> ManifoldClusters:
    """Tell states [n, D] near several curves or surfaces apart, each of which is made flat, at right angles to the others.

    dimension: directions a part may take on average; features have parts * dimension of them.
    temperature: of the membership; the lower, the shorter the pieces that a curve is cut into, against which the paper's larger
        batches help.
    jitter: length of the disturbance of a copy, in units of the root mean squared distance of the states from their mean.
    first_steps, steps: of Adam, on all states at once; first R alone and then the reduction.
    seed: of the weights, the disturbances and the spectral clustering that reads the parts off the membership.

    Memory grows as n^2. Raises ValueError for states that are not finite, all alike or fewer than two a part.
    """
    if states.ndim != 2 or states.is_complex() or not bool(states.isfinite().all()):
        raise ValueError(f"states must be real and finite, [n, D], got {states.dtype} of shape {tuple(states.shape)}")
    if parts < 2 or len(states) < 2 * parts:
        raise ValueError(f"parts={parts} must be at least 2, with two states or more for each; there are {len(states)}")
    if dimension < 1 or steps < 1 or first_steps < 0 or not min(precision, temperature) > 0:
        raise ValueError("dimension and steps must be at least 1, first_steps not negative, precision and temperature positive")
    centred = states.detach().double() - states.detach().double().mean(0)
    size = centred.square().sum(1).mean().sqrt()
    if not float(size) > 0:
        raise ValueError("the states are all alike: there are no parts to tell apart")
    points = centred / size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = _Heads(states.shape[1], parts * dimension).to(points)
    generator = torch.Generator(points.device).manual_seed(seed)
    scale = jitter / float(states.shape[1]) ** 0.5

    def disturbed() -> Tensor:
        noise: Tensor = torch.randn(points.shape, generator=generator, dtype=points.dtype, device=points.device)
        moved: Tensor = points + scale * noise
        return moved

    optimizer = torch.optim.Adam(heads.parameters(), LEARNING_RATE)
    for _ in range(first_steps):
        one, other = heads.of_features(disturbed()), heads.of_features(disturbed())
        _step(optimizer, coding_rate_within(one, _whole(one), precision=precision) + BESIDE * (one * other).sum(1).mean())
    heads.membership.load_state_dict(heads.features.state_dict())
    optimizer = torch.optim.Adam(heads.parameters(), LEARNING_RATE)
    reductions = list[float]()
    for _ in range(steps):
        z, scores = heads(disturbed())
        membership = doubly_stochastic(scores, temperature=temperature)
        reductions.append(_step(optimizer, rate_reduction(z, membership, precision=precision)))
    with torch.no_grad():
        z, scores = heads(points)
        membership = doubly_stochastic(scores, temperature=temperature)
    affinity = (membership + membership.mT).cpu().numpy() / 2
    found = SpectralClustering(parts, affinity="precomputed", random_state=seed).fit_predict(affinity)
    return ManifoldClusters(found.astype(np.int64), z, membership, reductions)


def coding_rate_within(z: Tensor, membership: Tensor, *, precision: float = 0.5) -> Tensor:
    """R_c of vectors [n, d] with a membership [n, k], in nats; R for a single part of all. A part of no vectors takes none.

    Raises ValueError for a membership that is not one of these vectors.
    """
    if membership.ndim != 2 or membership.shape[0] != z.shape[0]:
        raise ValueError(f"membership must be [n, parts] for n = {z.shape[0]} vectors, got {tuple(membership.shape)}")
    if not bool((membership >= 0).all()) or not bool(((membership.sum(1) - 1).abs() < 1e-2).all()):
        raise ValueError("a row of a membership is not negative and adds up to 1")
    count, size = z.shape
    sizes = membership.sum(0)
    pairs = (z[:, :, None] * z[:, None]).flatten(1)
    moments = (membership.mT @ pairs).unflatten(1, (size, size))  # one product for all parts
    scale = size / (sizes.clamp_min(torch.finfo(z.dtype).eps) * precision**2)
    coded = torch.eye(size, dtype=z.dtype, device=z.device) + scale[:, None, None] * moments
    rates: Tensor = torch.linalg.cholesky(coded).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (sizes * rates).sum() / count


def rate_reduction(z: Tensor, membership: Tensor, *, precision: float = 0.5) -> Tensor:
    """What a membership [n, k] saves for vectors [n, d]: R - R_c, in nats."""
    whole = coding_rate_within(z, _whole(z), precision=precision)
    return whole - coding_rate_within(z, membership, precision=precision)


def doubly_stochastic(scores: Tensor, *, temperature: float = 0.5, sweeps: int = 10) -> Tensor:
    """The matrix e^(scores / temperature) [n, n], its columns and rows scaled in turn until they add up to 1 (Sinkhorn); its rows
    do to rounding, and its columns as nearly as the sweeps have come.
    """
    logs = scores / temperature
    for _ in range(sweeps):
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


class _Heads(nn.Module):
    """Features, and what the membership is made of, from one hidden representation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.features, self.membership = nn.Linear(HIDDEN, outputs), nn.Linear(HIDDEN, outputs)

    def of_features(self, points: Tensor) -> Tensor:
        found: Tensor = normalize(self.features(self.body(points)), dim=1)
        return found

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The features [n, d] and the scores [n, n]."""
        hidden = self.body(points)
        middles = normalize(self.membership(hidden), dim=1)
        return normalize(self.features(hidden), dim=1), middles @ middles.mT


def _whole(z: Tensor) -> Tensor:
    return z.new_ones(len(z), 1)


def _step(optimizer: torch.optim.Optimizer, gain: Tensor) -> float:
    """One step up; the gain before it."""
    optimizer.zero_grad()
    (-gain).backward()
    optimizer.step()
    return float(gain.detach())
