"""Traces and diagonals from random vectors, each with its standard error where one exists."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.operators.operator import Operator


class Estimate(NamedTuple):
    """A number, its standard error (NaN where it cannot be told), and how many times the operator was applied."""

    value: float
    standard_error: float
    applications: int


def hutchinson_trace(operator: Operator, probes: int, generator: torch.Generator) -> Estimate:
    """The trace as the mean of z^T A z over Rademacher vectors (Hutchinson 1990).

    Its variance for one probe is 2 (|A|_F^2 - sum_i a_ii^2) for a symmetric matrix. operator: square. probes: at least 2, for
    the standard error.
    """
    _square(operator, probes, 2)
    signs = _signs(operator, probes, generator)
    each = (signs.conj() * operator.matmat(signs)).sum(0).real
    return Estimate(float(each.mean()), float(each.std() / probes**0.5), probes)


def hutch_plus_plus_trace(operator: Operator, applications: int, generator: torch.Generator) -> Estimate:
    """The trace with the largest part of the spectrum taken out exactly (Meyer et al. 2021, arXiv:2010.09649).

    A third of the applications sketches the range Q of A, a third computes tr(Q^* A Q) exactly, and a third runs Hutchinson on
    what Q leaves. For positive operators the error falls as 1 / applications, where Hutchinson's falls as its root.

    applications: at least 6.
    """
    size = _square(operator, applications, 6)
    third = min(applications // 3, size)
    sketch = torch.linalg.qr(operator.matmat(_signs(operator, third, generator))).Q
    known = (sketch.conj() * operator.matmat(sketch)).sum().real
    signs = _signs(operator, third, generator)
    rest = signs - sketch @ (sketch.mH @ signs)
    each = (rest.conj() * operator.matmat(rest)).sum(0).real
    return Estimate(float(known + each.mean()), float(each.std() / third**0.5), 3 * third)


def hutchinson_diagonal(operator: Operator, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The diagonal as the mean of z * A z over Rademacher vectors (Bekas et al. 2007), and its standard error: two [size].

    Of a symmetric matrix entry i has the variance (sum_j a_ij^2 - a_ii^2) / probes.
    """
    _square(operator, probes, 2)
    signs = _signs(operator, probes, generator)
    each = signs.conj() * operator.matmat(signs)
    return each.mean(1), (each - each.mean(1, keepdim=True)).abs().square().sum(1).div(probes - 1).sqrt() / probes**0.5


def _signs(operator: Operator, count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(0, 2, (operator.shape[-1], count), generator=generator, device=operator.device) * 2 - 1
    return drawn.to(operator.dtype)


def _square(operator: Operator, probes: int, least: int) -> int:
    if len(operator.shape) != 2 or operator.shape[0] != operator.shape[1]:
        raise ValueError(f"a trace needs one square operator, got shape {list(operator.shape)}")
    if probes < least:
        raise ValueError(f"at least {least} applications are needed, got {probes}")
    return int(operator.shape[0])
