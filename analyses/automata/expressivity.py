"""What a delta rule can track: groups as products of reflections, run by our own kernel, and what too few of them lose.

A transition with n reflections a token and eigenvalues in [-1, 1] is any orthogonal matrix that moves at most n dimensions
(Cartan and Dieudonne), so a group is tracked exactly where it has a faithful orthogonal representation whose elements each move
at most n (Siems et al. 2025, arXiv:2502.10297). So it is for

    parity           one reflection; with eigenvalues in [0, 1] none (Grazzi et al. 2025, arXiv:2411.12537)
    Z_m, m > 2; S3   two: a rotation has complex eigenvalues, and one generalized Householder matrix has none
    A4, S4, A5       two: they are the rotations of the tetrahedron, the cube and the icosahedron
    S5               four: its characters are rational, so a 5-cycle has all four primitive fifth roots of unity as eigenvalues in
                     every faithful representation, and moves at least four dimensions
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from ...kernels.delta_rule import delta_rule
from ...probe.tasks.base import generator_for
from ...probe.tasks.word_problem import WordProblem
from .groups import reflections_needed, reflections_of, representation
from .results.expressivity import Expressivity


def expressivity(
    groups: Sequence[str] = ("Z2", "Z3", "S3", "A4", "S4", "A5", "S5"),
    householders: Sequence[int] = (1, 2, 4),
    *,
    length: int = 256,
    sequences: int = 64,
    seed: int = 0,
) -> Expressivity:
    """Run `tracking_tokens` of each group through `delta_rule` in float64, with as many reflections a token as given.

    Where they are too few, each element has the first of its own that there are; with eigenvalues in [0, 1] each reflection is
    the projection that is nearest to it. A construction that fails shows what this one lacks; that no other does better is said
    above, where it is known. Raises ValueError for no group and for fewer than one reflection.
    """
    if not groups or min(householders, default=0) < 1:
        raise ValueError(f"give a group or more, and one reflection a token or more; got {list(groups)} and {list(householders)}")
    rows = []
    for group in groups:
        needed = reflections_needed(group)
        batch = WordProblem(group).batch(sequences, length, "test", generator_for(seed, length))
        for largest in (2.0, 1.0):
            for count in householders:
                keys, beta = tracking_tokens(group, count, largest_beta=largest)
                right, drift = track(group, keys, beta, batch.tokens, batch.targets)
                rows.append((group, count, largest, needed, needed <= count and largest == 2, right, drift))
    return Expressivity(pd.DataFrame(rows, columns=list(Expressivity.columns)), {"length": length, "sequences": sequences})


def tracking_tokens(group: str, householders: int, *, largest_beta: float = 2.0) -> tuple[Tensor, Tensor]:
    """The keys [order, n, d] and beta [order, n] of a delta rule whose token g multiplies the state by rho(g).

    householders: n. An element that takes fewer is filled up with beta 0; of one that takes more the first n are kept, and the
    product is then another matrix. largest_beta: 2 reflects; less only shrinks along the key.
    """
    rho = representation(group)
    keys = torch.eye(1, rho.shape[-1], dtype=rho.dtype).repeat(len(rho), householders, 1)
    beta = torch.zeros(len(rho), householders, dtype=rho.dtype)
    for element, matrix in enumerate(rho):
        own = reflections_of(matrix)[:householders]
        keys[element, : len(own)], beta[element, : len(own)] = own, largest_beta
    return keys, beta


def starting_state(group: str) -> Tensor:
    """A unit vector [d, 1] that no element but the identity fixes, far from all its images."""
    rho = representation(group)
    size = rho.shape[-1]
    candidates = torch.nn.functional.normalize(torch.randn(size, 200, generator=torch.Generator().manual_seed(0)).double(), dim=0)
    moved = (rho[1:] @ candidates - candidates).norm(dim=1).amin(0)
    return candidates[:, moved.argmax()][:, None]


def track(group: str, keys: Tensor, beta: Tensor, tokens: Tensor, elements: Tensor) -> tuple[float, float]:
    """The share of sequences whose last state is nearest to the image of its element, and how far a state is from it at most.

    tokens: [B, T]. elements: [B, T], the product so far. The state starts at `starting_state`, and tokens write nothing.
    """
    count, length = tokens.shape
    start = starting_state(group)
    images = (representation(group) @ start)[..., 0]  # [order, d]
    k, b = keys[tokens][:, :, None], beta[tokens][:, :, None]
    q = torch.zeros(count, length, 1, keys.shape[-1], dtype=keys.dtype)
    v = torch.zeros(*k.shape[:-1], 1, dtype=keys.dtype)
    initial = start.expand(count, 1, *start.shape)
    out = delta_rule(q, k, v, b, initial_state=initial, taps=list(range(length)))
    assert out.states is not None
    states = out.states[:, :, 0, :, 0]
    drift = float((states - images[elements]).norm(dim=-1).max())
    nearest = torch.cdist(states[:, -1], images).argmin(-1)
    return float((nearest == elements[:, -1]).double().mean()), drift
