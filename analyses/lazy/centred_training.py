"""Full-batch training of a network that is centred and scaled: the knob between lazy and rich training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...kernels.arguments import NonFiniteError
from ..operators.evaluation_mode import refuse_training_mode


class CentredTraining(NamedTuple):
    """What a run went through.

    train [S, N, O] and test [S, M, O]: predictions F after each of S numbers of steps.
    movement: [S], |theta - theta_0| / |theta_0|.
    """

    train: Tensor
    test: Tensor
    movement: Tensor


def train_centred(
    model: nn.Module,
    x: Tensor,
    targets: Tensor,
    test: Tensor,
    *,
    scale: float,
    step: float,
    times: Sequence[int],
    observe: Callable[[int], None] = lambda taken: None,
) -> CentredTraining:
    """Train F = scale (f - f_0) in place, by gradient descent on |F - y|^2 / (2 scale^2) (Chizat et al. 2019, arXiv:1812.07956).

    f_0 is the network at its start, so that F starts at zero. In the function every scale has the same dynamics at first,
    F <- F - step K (F - y) with K the tangent kernel of f, while parameters move by 1 / scale: as the scale grows K stays what it
    was, and training is `gradient_descent` with it.

    model: in float64. x, test: [N, ...] and [M, ...] inputs. targets: [N, O].
    times: numbers of steps to record, in any order.
    observe: called with each of them, when the model stands there.

    Raises ValueError for a model in training with dropout or batch normalisation, or without parameters to train, targets of
    another shape than the outputs, a scale or a step that is not positive, and times below 0 or none; NonFiniteError where
    training diverges; `largest_stable_step` of the kernel bounds the step.
    """
    refuse_training_mode(model)
    parameters = [value for value in model.parameters() if value.requires_grad]
    if not parameters:
        raise ValueError("no parameter of the model has requires_grad, so there is nothing to train")
    if not (0 < scale < inf and 0 < step < inf) or not len(times) or min(times) < 0:
        raise ValueError(f"a positive scale and step and times from 0 on are needed, got {scale}, {step} and {list(times)}")
    start = [value.detach().clone() for value in parameters]
    size = torch.stack([value.norm() for value in start]).norm()
    with torch.no_grad():
        before, test_before = model(x), model(test)
    if before.shape != targets.shape:
        raise ValueError(f"targets {tuple(targets.shape)} must be shaped as the outputs {tuple(before.shape)}")
    recorded: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for taken in range(max(times) + 1):
        out = scale * (model(x) - before)
        loss = (out - targets).square().sum() / (2 * scale**2)
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"training diverged at step {taken} of scale {scale:g}; take a step below {step:.3g}")
        if taken in times:
            with torch.no_grad():
                moved = torch.stack([(now - then).norm() for now, then in zip(parameters, start, strict=True)]).norm()
                recorded[taken] = out.detach(), scale * (model(test) - test_before), moved / size
            observe(taken)
        if taken == max(times):
            break
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for value, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    value.sub_(gradient, alpha=step)
    trained, tested, moved = zip(*(recorded[time] for time in times), strict=True)
    return CentredTraining(torch.stack(trained), torch.stack(tested), torch.stack(moved))
