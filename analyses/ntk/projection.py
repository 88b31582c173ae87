"""Tangent kernels from random projections of the gradients: features of a fixed size, and how far off each entry may be."""

from __future__ import annotations

import torch
from torch import Tensor

from .jacobian import Jacobian, Route
from .samples import Samples
from .task import KernelTask


def projected_features(jacobian: Jacobian, outputs: list[int], features: int, seed: int) -> Tensor:
    """The gradients of each sample and output, hashed into a few numbers, [N, O, features].

    Every number of the gradient is given a sign and a place at random, and added up there (Weinberger et al. 2009,
    arXiv:0902.2206). Products of features are unbiased for products of gradients, with a variance of at most
    (K_ii K_jj + K_ij^2) / features: no more than that of a dense Gaussian projection, at one addition a number.
    """
    count = len(jacobian.samples)
    found = jacobian.values.new_zeros(count, len(outputs), features)
    for place, index in enumerate(outputs):
        for name, factor in jacobian.rows(index).items():
            rows = factor.dense()
            generator = torch.Generator().manual_seed(hash_of(name, seed))
            bucket = torch.randint(features, (rows.shape[1],), generator=generator).to(rows.device)
            sign = torch.randint(2, (rows.shape[1],), generator=generator).to(rows) * 2 - 1
            found[:, place].index_add_(1, bucket, rows * sign)
    return found


def hash_of(name: str, seed: int) -> int:
    """A seed of a parameter's own, the same in every process."""
    value = seed
    for letter in name.encode():
        value = (value * 1_000_003 + letter) % 2**61
    return value


def projected_kernel(task: KernelTask, features: int, seed: int) -> tuple[Tensor, Tensor, dict[str, Route]]:
    """The kernel from `features` numbers of each sample and output, the standard error of each entry, and the routes."""
    routes: dict[str, Route] = {}

    def of(samples: Samples) -> Tensor:
        found = []
        for start in range(0, len(samples), task.tile):
            jacobian = Jacobian(task.model, samples[start : start + task.tile], task.read, task.parameters)
            routes.update(jacobian.routes)
            indices = task.indices(jacobian.values.shape[1])
            found.append(projected_features(jacobian, indices, features, seed).detach())
        return torch.cat(found)

    one = of(task.first)
    other = one if task.second is None else of(task.second)
    full = torch.tensordot(one, other, ([2], [2]))  # [N, O, M, O]
    if task.output == "full":
        own = [side.square().sum(-1) for side in (one, other)]
        variance = own[0][:, :, None, None] * own[1] + full.square()
        return full, (variance / features).sqrt(), routes
    squares = [torch.einsum("iof,ipf->iop", side, side).flatten(1) for side in (one, other)]
    variance = squares[0] @ squares[1].T + torch.einsum("iojp,ipjo->ij", full, full)
    return torch.einsum("iojo->ij", full), (variance.clamp(min=0) / features).sqrt(), routes
