"""How large a step may be: the sharpness at which descent turns unstable, and the largest rate with which training can begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..operators.curvature import Hessian, Loss
from ..operators.lanczos import top_eigenpairs


def hessian_sharpness(model: nn.Module, loss: Loss, inputs: Tensor, targets: Any, *, tolerance: float = 1e-4) -> float:
    """The largest eigenvalue of the Hessian of the mean loss, by Lanczos.

    tolerance: of the eigenvalue's residual, relative. Raises what `Hessian` and `top_eigenpairs` raise.
    """
    generator = torch.Generator().manual_seed(0)
    return float(top_eigenpairs(Hessian(model, loss, [(inputs, targets)]), 1, generator, tolerance=tolerance).values[0])


def stability_threshold(step: float, momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """The curvature above which descent on a quadratic diverges, at which full-batch training of networks comes to hover.

    Without momentum 2 / step; with Polyak's (2 + 2 m) / step; with Nesterov's (2 + 2 m) / (step (1 + 2 m)) (Cohen et al. 2021,
    arXiv:2103.00065). It is exact for quadratics. That sharpness rises to it and stays is an observation on full
    batches, of losses that go on falling; small batches and cross-entropy near its end stay below.

    step: the learning rate, positive. momentum: from 0 to below 1, of the velocity without dampening. Raises ValueError
    otherwise.
    """
    if not step > 0 or not 0 <= momentum < 1:
        raise ValueError(f"step > 0 and momentum in [0, 1) are needed, got {step} and {momentum}")
    return (2 + 2 * momentum) / (step * (1 + 2 * momentum if nesterov else 1))


def largest_initial_rate(succeeds: Callable[[float], bool], low: float, high: float, halvings: int = 8) -> float:
    """The largest learning rate with which a fresh model begins to learn, by bisection on its logarithm (Iyer et al. 2022,
    arXiv:2212.07295): known within a factor (high / low)^(1 / 2^halvings).

    succeeds: whether training from the start at a rate reaches what counts as learning, such as an accuracy within a few epochs;
        where it does not hold below one rate and fail above, one of the rates at which it changes is found.
    low, high: a rate that succeeds and one that fails; ValueError, with the fix, where they do not.
    """
    if not 0 < low < high:
        raise ValueError(f"0 < low < high is needed, got {low} and {high}")
    if not succeeds(low):
        raise ValueError(f"training fails at the lowest rate {low:.3g} already; give a lower one, more steps or an easier aim")
    if succeeds(high):
        raise ValueError(f"training succeeds at the highest rate {high:.3g} still; give a higher one")
    for _ in range(halvings):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if succeeds(middle) else (low, middle)
    return low
