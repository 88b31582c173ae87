"""What a trained network's parameters give away of its training set, as the tangent kernel says it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ...kernels.arguments import NonFiniteError, check_finite
from ..operators.evaluation_mode import refuse_training_mode
from ..operators.precise import precise_tensors


class Reconstruction(NamedTuple):
    """Candidates that the optimisation ended at.

    points: [M, D]. coefficients: [M]. residual: |change - sum_j a_j grad f(x_j)| / |change|, 0 where they explain all of it.
    """

    points: Tensor
    coefficients: Tensor
    residual: float


def gradient_features(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function from points [M, D] to the gradients of a model's one output by its parameters [M, P], differentiable in the
    points, in float64; the model stays as it is.

    Raises ValueError for a model in training with dropout or batch normalisation, and, when the function is called, for one of
    several outputs.
    """
    refuse_training_mode(model)
    parameters, others = precise_tensors(model)

    def output(theta: dict[str, Tensor], point: Tensor) -> Tensor:
        value: Tensor = functional_call(model, {**others, **theta}, (point[None],))
        if value.shape != (1, 1):
            raise ValueError(f"the model must have one output, [N, 1]; of one point it gave {tuple(value.shape)}")
        return value[0, 0]

    def features(points: Tensor) -> Tensor:
        own = vmap(grad(output), (None, 0))(parameters, points.double())
        return torch.cat([part.flatten(1) for part in own.values()], 1)

    return features


def reconstruct(
    features: Callable[[Tensor], Tensor], change: Tensor, candidates: Tensor, steps: int, rate: float = 0.05
) -> Reconstruction:
    """Find points whose gradients add up to the change of the parameters in training.

    A lazily trained network moves by theta_T - theta_0 = sum_i a_i grad f(x_i; theta_0), a = K^{-1} (y - f_0), within the span of
    the gradients at its training points; so points x_j and coefficients a_j are sought with
    |theta_T - theta_0 - sum_j a_j grad f(x_j; theta_0)|^2 least (Loo et al. 2023, arXiv:2302.01428). The
    coefficients are solved for at each step, and Adam moves the points, at a rate that falls to zero as a cosine.

    It holds for the regime where the tangent kernel keeps still; the further a network is from it, the worse the points fit.
    More candidates than training points leave some unused, with small coefficients.

    features: from points to gradients at theta_0, see `gradient_features`.
    change: [P]. candidates: [M, D], where the search begins.
    steps: of Adam. rate: its learning rate at the start.

    Raises ValueError for a change of another size than the gradients, or one that is zero, and for a rate that is not positive;
    NonFiniteError for NaN and infinity, also in the gradients at a candidate, with the step where it got there.
    """
    check_finite(change=change, candidates=candidates)
    if not 0 < rate < inf:
        raise ValueError(f"rate={rate} must be positive and finite")
    points = candidates.detach().double().clone().requires_grad_()
    change = change.detach().double()
    if features(points).shape != (len(points), len(change)) or float(change.norm()) == 0:
        raise ValueError(f"the change must be [P], as the gradients, and not zero; got {tuple(change.shape)}")
    optimizer = torch.optim.Adam([points], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for step in range(steps):
        optimizer.zero_grad()
        _explained(_finite(features(points), step), change)[1].backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        coefficients, rest = _explained(_finite(features(points), steps), change)
    return Reconstruction(points.detach(), coefficients, float(rest) ** 0.5)


def _finite(gradients: Tensor, step: int) -> Tensor:
    bad = (~gradients.detach().isfinite().all(1)).nonzero()
    if len(bad):
        raise NonFiniteError(
            f"the gradients at candidate {int(bad[0])} are not finite after {step} steps; begin elsewhere or take a smaller rate"
        )
    return gradients


def _explained(gradients: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients of least residual, and its square over the change's; 1e-10 of the mean keeps the system regular."""
    gram = gradients @ gradients.T
    ridge = 1e-10 * gram.diagonal().mean().detach() * torch.eye(len(gram), dtype=gram.dtype)
    coefficients = torch.linalg.solve(gram + ridge, gradients @ change)
    return coefficients, (change - coefficients @ gradients).square().sum() / change.square().sum()
