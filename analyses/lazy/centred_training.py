"""Full-batch training of a network that is centred and scaled: the knob between lazy and rich training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...kernels.arguments import NonFiniteError


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

    model: in float64. x, test: [N, ...] and [M, ...] inputs. targets: [N, O]. times: numbers of steps to record.
    observe: called with each of them, when the model stands there.
    Raises NonFiniteError where training diverges; `largest_stable_step` of the kernel bounds the step.
    """
    parameters = [value for value in model.parameters() if value.requires_grad]
    start = [value.detach().clone() for value in parameters]
    size = torch.stack([value.norm() for value in start]).norm()
    with torch.no_grad():
        before, test_before = model(x), model(test)
    recorded: list[tuple[Tensor, Tensor, Tensor]] = []
    for taken in range(max(times) + 1):
        out = scale * (model(x) - before)
        if taken in times:
            with torch.no_grad():
                moved = torch.stack([(now - then).norm() for now, then in zip(parameters, start, strict=True)]).norm()
                recorded.append((out.detach(), scale * (model(test) - test_before), moved / size))
            observe(taken)
        if taken == max(times):
            break
        loss = (out - targets).square().sum() / (2 * scale**2)
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"training diverged at step {taken} of scale {scale:g}; take a step below {step:.3g}")
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for value, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    value.sub_(gradient, alpha=step)
    trained, tested, moved = zip(*recorded, strict=True)
    return CentredTraining(torch.stack(trained), torch.stack(tested), torch.stack(moved))
