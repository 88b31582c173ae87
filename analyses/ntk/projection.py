"""Tangent kernels from random projections of the gradients: features of a fixed size, and how far off each entry may be."""

from __future__ import annotations

import torch
from torch import Tensor

from .jacobian import Jacobian, Route
from .samples import Samples
from .task import EngineResult, KernelTask


def projected_features(jacobian: Jacobian, task: KernelTask) -> dict[str, Tensor]:
    """The gradients of each sample and output in each group of parameters, hashed into a few numbers, [N, O, features].

    Every number of the gradient is given a sign and a place at random, and added up there (Weinberger et al. 2009,
    arXiv:0902.2206). Products of features are unbiased for products of gradients, with a variance of at most
    (K_ii K_jj + K_ij^2) / features: no more than that of a dense Gaussian projection, at one addition a number.
    """
    count, indices = len(jacobian.samples), task.indices(jacobian.values.shape[1])
    empty = jacobian.values.detach().new_zeros(count, len(indices), task.features)
    found = {task.group(name): empty.clone() for name in jacobian.routes}
    for place, index in enumerate(indices):
        for name, factor in jacobian.rows(index):
            rows = factor.dense()
            generator = torch.Generator().manual_seed(hash_of(name, task.seed))
            bucket = torch.randint(task.features, (rows.shape[1],), generator=generator).to(rows.device)
            sign = torch.randint(2, (rows.shape[1],), generator=generator).to(rows) * 2 - 1
            found[task.group(name)][:, place].index_add_(1, bucket, (rows * sign).detach())
    return found


def hash_of(name: str, seed: int) -> int:
    """A seed of a parameter's own, the same in every process."""
    value = seed
    for letter in name.encode():
        value = (value * 1_000_003 + letter) % 2**61
    return value


def projected_kernel(task: KernelTask) -> EngineResult:
    """The kernel of each group from `features` numbers of each sample and output, and the standard error of their sum.

    Groups are projected each by itself, so their errors are independent. Raises ValueError for fewer than one feature.
    """
    if task.features < 1:
        raise ValueError(f"features={task.features} must be at least 1")
    routes: dict[str, Route] = {}

    def of(samples: Samples) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        for start in range(0, len(samples), task.tile):
            jacobian = Jacobian(task.model, samples[start : start + task.tile], task.read, task.parameters)
            routes.update(jacobian.routes)
            for name, features in projected_features(jacobian, task).items():
                found.setdefault(name, []).append(features)
        return {name: torch.cat(own) for name, own in found.items()}

    one = of(task.first)
    other = one if task.second is None else of(task.second)
    both = {name: _product(one[name], other[name], full=task.output == "full") for name in one}
    variance = torch.stack([own for _, own in both.values()]).sum(0) / task.features
    task.advance(1, 1)
    return EngineResult({name: own for name, (own, _) in both.items()}, routes, variance.clamp(min=0).sqrt())


def _product(one: Tensor, other: Tensor, *, full: bool) -> tuple[Tensor, Tensor]:
    """The kernel from features [N, O, features] of both sides, and features times the variance of its entries."""
    whole = torch.tensordot(one, other, ([2], [2]))  # [N, O, M, O]
    if full:
        own = [side.square().sum(-1) for side in (one, other)]
        return whole, own[0][:, :, None, None] * own[1] + whole.square()
    squares = [torch.einsum("iof,ipf->iop", side, side).flatten(1) for side in (one, other)]
    return torch.einsum("iojo->ij", whole), squares[0] @ squares[1].T + torch.einsum("iojp,ipjo->ij", whole, whole)
