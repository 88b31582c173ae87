"""Numbers that describe a tangent kernel: how it spreads over directions, how it lies to the targets, how it moves.

All take kernels [N, N] of the trace or of one output, in float64.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...kernels.arguments import FLOATING
from ..operators.nystrom import NotPositiveError
from ..operators.precise import positive_kernel, precise_numbers, symmetric_kernel


class Decay(NamedTuple):
    """A fitted power law, eigenvalue_i ~ i^-exponent, and the share of the variance of the logarithms that it explains."""

    exponent: float
    explained: float


class Selection(NamedTuple):
    """Samples in the order in which they were chosen, and what each added to the coding rate, in nats."""

    chosen: list[int]
    gains: list[float]


def effective_rank(kernel: Tensor) -> float:
    """The participation ratio of the eigenvalues, (tr K)^2 / |K|_F^2: between 1 and N."""
    return float(kernel.trace().square() / kernel.square().sum())


def stable_rank(kernel: Tensor) -> float:
    """The trace over the largest eigenvalue, tr K / lambda_1: between 1 and N."""
    return float(kernel.trace() / torch.linalg.eigvalsh(kernel)[-1])


def condition(eigenvalues: Tensor) -> float:
    """The largest eigenvalue over the least, infinite where the least is zero or below within rounding."""
    top, least = float(eigenvalues.max()), float(eigenvalues.min())
    return top / least if least > len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * top else float("inf")


def decay_exponent(eigenvalues: Tensor, first: int = 2, last: int | None = None) -> Decay:
    """Fit log eigenvalue = c - exponent * log i by least squares over the ranks from `first` to `last`, counted from 1.

    last: left out, half of them, since the least eigenvalues of a finite sample fall faster than those of the kernel's operator.
    Raises ValueError for fewer than three eigenvalues in that range, or one that is not positive, and what `precise_numbers`
    raises.
    """
    (eigenvalues,) = precise_numbers(eigenvalues=(eigenvalues, "ranks"))
    values = eigenvalues.sort(descending=True).values.cpu().numpy()
    last = max(first + 2, len(values) // 2) if last is None else last
    chosen = values[first - 1 : last]
    if len(chosen) < 3 or (chosen <= 0).any():
        raise ValueError(f"a power law needs three positive eigenvalues from rank {first} to {last} of {len(values)}")
    x, y = np.log(np.arange(first, first + len(chosen))), np.log(chosen)
    slope, offset = np.polyfit(x, y, 1)
    rest = y - slope * x - offset
    return Decay(-float(slope), 1 - float(rest.var() / y.var()) if y.var() > 0 else 1.0)


def kernel_target_alignment(kernel: Tensor, targets: Tensor) -> float:
    """The alignment <K_c, Y Y^T> / (|K_c| |Y Y^T|), K_c and Y centred over the samples (Cortes et al. 2012, arXiv:1203.0550).

    targets: [N] classes, or [N, O] numbers. Between -1 and 1, and NaN where nothing is left of K or Y but rounding: of one class,
    or of a kernel that is the same for all samples.
    Raises ValueError for targets of other samples, for [N] that are no classes, and what `symmetric_kernel` raises.
    """
    kernel = symmetric_kernel(kernel)
    y = _numbers(targets, len(kernel))
    y = _beyond_rounding(y - y.mean(0), y)
    return _cosine(_beyond_rounding(centred(kernel), kernel), y @ y.T)


def label_gradient_alignment(kernel: Tensor, classes: Tensor) -> float:
    """The correlation of a kernel's entries with 1 within a class and -1 between two (Mok et al. 2022, arXiv:2203.14577).

    The mean of all entries is taken off both, so that one number is subtracted and not the means of rows. classes: [N].
    NaN where there is one class alone, or all entries are the same. Raises ValueError for classes that are not [N] whole
    numbers, and what `symmetric_kernel` raises.
    """
    kernel = symmetric_kernel(kernel)
    check_classes(classes, len(kernel))
    same = (classes[:, None] == classes[None]).to(kernel) * 2 - 1
    return _cosine(_beyond_rounding(kernel - kernel.mean(), kernel), same - same.mean())


def kernel_distance(kernel: Tensor, other: Tensor) -> float:
    """The distance in direction, 1 - <K, K'> / (|K| |K'|) (Fort et al. 2020, arXiv:2010.15110): 0 for kernels that differ by a
    factor. Raises what `precise_numbers` raises, also for kernels of two shapes.
    """
    kernel, other = precise_numbers(kernel=(kernel, "N M"), other=(other, "N M"))
    return 1 - _cosine(kernel, other)


def relative_change(kernel: Tensor, before: Tensor) -> float:
    """How far a kernel has moved, |K - K_before|_F / |K_before|_F. Raises what `precise_numbers` raises, also for two shapes."""
    kernel, before = precise_numbers(kernel=(kernel, "N M"), before=(before, "N M"))
    return float((kernel - before).norm() / before.norm())


def coding_rate(kernel: Tensor, precision: float) -> float:
    """R = 1/2 log det(I + K / precision), in nats: how many numbers of this precision tell the samples apart.

    precision: n eps^2 / d of the paper, positive (Luo et al. 2023, arXiv:2307.07942).
    Raises NotPositiveError where I + K / precision is not positive definite, and what `symmetric_kernel` raises.
    """
    kernel = symmetric_kernel(kernel)
    system = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device) + kernel / _positive(precision)
    factor, failed = torch.linalg.cholesky_ex(system)
    if int(failed):
        raise NotPositiveError(f"I + K / precision has the eigenvalue {float(torch.linalg.eigvalsh(system)[0]):.3g}")
    return float(factor.diagonal().log().sum())


def choose_by_coding_rate(kernel: Tensor, count: int, precision: float) -> Selection:
    """Choose samples one after another, each the one that adds most to the coding rate of those chosen.

    What sample i adds is 1/2 log(1 + K_{i|S} / precision), with K_{i|S} what the chosen ones S, observed with noise of variance
    `precision`, leave of its variance: one column of a Cholesky factor a step. It never rises from a step to the next.
    Raises ValueError for a count not from 1 to N, and what `positive_kernel` raises.
    """
    kernel = positive_kernel(kernel)
    if not 1 <= count <= len(kernel):
        raise ValueError(f"count={count} must lie between 1 and {len(kernel)}")
    noise, left = _positive(precision), kernel.diagonal().clone()
    factor = kernel.new_zeros(len(kernel), count)
    chosen, gains = list[int](), list[float]()
    for step in range(count):
        free = left.clone()
        free[chosen] = -torch.inf
        best = int(free.argmax())
        gains.append(0.5 * float(torch.log1p(left[best] / noise)))
        column = (kernel[:, best] - factor @ factor[best]) / (left[best] + noise).sqrt()
        factor[:, step] = column
        left = left - column.square()
        chosen.append(best)
    return Selection(chosen, gains)


def centred(kernel: Tensor) -> Tensor:
    """H K H with H = I - 11^T / N: the kernel of features whose mean over the samples is taken off."""
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()


def _numbers(targets: Tensor, samples: int) -> Tensor:
    if targets.ndim == 1:
        check_classes(targets, samples)
        return one_hot(targets, int(targets.max()) + 1).double()
    (numbers,) = precise_numbers(targets=(targets, "N O"))
    if len(numbers) != samples:
        raise ValueError(f"targets are of {len(numbers)} samples, the kernel is of {samples}")
    found: Tensor = numbers
    return found


def check_classes(classes: Tensor, samples: int) -> None:
    """Raise ValueError for classes that are not [N] whole numbers from 0, N the samples of a kernel."""
    whole = classes.dtype not in (torch.bool, *FLOATING) and not classes.is_complex()
    if classes.shape != (samples,) or not whole or (samples and int(classes.min()) < 0):
        raise ValueError(
            f"classes must be [{samples}] whole numbers from 0, got {list(classes.shape)} {classes.dtype}; numbers are [N, O]"
        )


def _beyond_rounding(left: Tensor, whole: Tensor) -> Tensor:
    """What is left of numbers without their mean; zero where that is no more than rounding, whose direction says nothing."""
    rounding = len(whole) * torch.finfo(whole.dtype).eps * float(whole.norm())
    return left if float(left.norm()) > rounding else torch.zeros_like(left)


def _cosine(first: Tensor, second: Tensor) -> float:
    size = float(first.norm() * second.norm())
    return float((first * second).sum()) / size if size > 0 else float("nan")


def _positive(precision: float) -> float:
    if not 0 < precision < inf:
        raise ValueError(f"precision={precision} must be positive and finite")
    return precision
