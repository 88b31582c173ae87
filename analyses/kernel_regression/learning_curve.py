"""The eigenframework: how the error of kernel ridge regression falls with the number of samples, from the spectrum alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from torch import Tensor

from ...kernels.shown import with_shapes
from ..operators.precise import precise_numbers


@dataclass(frozen=True)
class LearningCurvePoint:
    """What the eigenframework predicts at one number of samples.

    learnability: [modes], the share of each eigenfunction that is learnt, between 0 and 1; without a ridge they sum to n.
    test_error, train_error: mean squared errors, noise included. resolution: kappa, the eigenvalue learnt by half.
    overfitting: E_0, the factor by which finite samples raise the error.
    """

    learnability: Tensor
    test_error: float
    train_error: float
    resolution: float
    overfitting: float

    __repr__ = with_shapes


def learning_curve_point(
    eigenvalues: Tensor, coefficients: Tensor, samples: int, ridge: float = 0.0, noise: float = 0.0
) -> LearningCurvePoint:
    """The mean errors of kernel ridge regression on `samples` random inputs (Simon et al. 2023, arXiv:2110.03922).

    eigenvalues: [modes], of the kernel as an operator under the inputs' distribution, all positive. coefficients: [modes],
    the target in the eigenfunctions, so that its mean square is their squares' sum. ridge: delta, added to the kernel
    matrix's diagonal. noise: variance of the targets' noise.

    kappa solves sum_i l_i / (l_i + kappa) + delta / kappa = n; L_i = l_i / (l_i + kappa); E_0 = n / (n - sum L_i^2);
    test = E_0 (sum (1 - L_i)^2 v_i^2 + noise); train = (delta / (n kappa))^2 test. It assumes eigenfunctions that behave like
    independent Gaussians, and holds closely for kernels of wide networks.

    Raises ValueError for numbers outside these ranges, and where there are no more modes than samples and no ridge: then every
    mode is learnt, and kappa is 0.
    """
    values, target = checked_modes(eigenvalues, coefficients, ridge, noise)
    if not samples >= 1:
        raise ValueError(f"samples={samples} must be at least 1")
    if ridge == 0 and samples >= len(values):
        raise ValueError(f"{samples} samples determine {len(values)} modes exactly; give a ridge or more modes")

    def excess(log_kappa: float) -> float:
        kappa = math.exp(log_kappa)
        return float((values / (values + kappa)).sum()) + ridge / kappa - samples

    top = math.log((float(values.sum()) + ridge) / samples) + 1
    bottom = top - 1
    while excess(bottom) <= 0:
        bottom -= 5
    kappa = math.exp(brentq(excess, bottom, top, xtol=1e-14, rtol=1e-14))
    learnt = values / (values + kappa)
    overfitting = samples / (samples - float(learnt.square().sum()))
    test = overfitting * (float(((1 - learnt) * target).square().sum()) + noise)
    return LearningCurvePoint(learnt, test, (ridge / (samples * kappa)) ** 2 * test, kappa, overfitting)


def checked_modes(eigenvalues: Tensor, coefficients: Tensor, ridge: float, noise: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues and coefficients [modes] in float64.

    Raises ValueError for a ridge or noise that is negative or not finite, no modes, and an eigenvalue that is not positive; and
    what `precise_numbers` raises.
    """
    if not (0 <= ridge < math.inf and 0 <= noise < math.inf):
        raise ValueError(f"ridge and noise must be finite and not negative, got {ridge} and {noise}")
    values, target = precise_numbers(eigenvalues=(eigenvalues, "modes"), coefficients=(coefficients, "modes"))
    if not len(values) or bool((values <= 0).any()):
        raise ValueError(f"positive eigenvalues are needed, one at least; got {values.tolist()[-3:]} at the end")
    return values, target
