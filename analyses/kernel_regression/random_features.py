"""The eigenframework with random features: how the error falls with samples and with features."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from torch import Tensor

from ...kernels.shown import with_shapes
from .learning_curve import checked_modes


@dataclass(frozen=True)
class RandomFeaturesPoint:
    """What is predicted at one number of samples and of features.

    learnability: [modes], l_i / (l_i + gamma). test_error, train_error: mean squared errors, noise included.
    gamma, kappa: the eigenvalue that is learnt by half, and the ridge that the finite samples amount to.
    """

    learnability: Tensor
    test_error: float
    train_error: float
    gamma: float
    kappa: float

    __repr__ = with_shapes


def random_features_point(
    eigenvalues: Tensor, coefficients: Tensor, samples: int, features: int, ridge: float, noise: float = 0.0
) -> RandomFeaturesPoint:
    """The mean errors of ridge regression on k random features of n samples (Simon et al. 2024, arXiv:2311.14646).

    The features are Gaussian combinations of the kernel's eigenfunctions, with variances l_i, and their kernel is the mean over
    the k of them. gamma and kappa solve sum_i l_i / (l_i + gamma) + ridge / kappa = n and
    sum_i l_i / (l_i + gamma) + k kappa / gamma = k. With z the sum, q the sum of squares of l_i / (l_i + gamma),

        test = [sum_i (gamma / (l_i + gamma) - kappa l_i / (l_i + gamma)^2 k / (k - q)) v_i^2 + noise]
               / (1 - (q (k - 2 z) + z^2) / (n (k - q))),   train = (ridge / (n kappa))^2 test.

    With many features it is `learning_curve_point`; features and samples play symmetric parts in what is learnt.

    eigenvalues, coefficients: [modes] l_i and v_i. ridge: positive, added to the kernel matrix's diagonal.
    Raises ValueError for shapes that do not fit or numbers that are not positive.
    """
    values, target = checked_modes(eigenvalues, coefficients, ridge, noise)
    if not (ridge > 0 and samples >= 1 and features >= 1):
        raise ValueError(f"ridge, samples and features must be positive, got {ridge}, {samples} and {features}")

    def learnt(log_gamma: float) -> float:
        return float((values / (values + math.exp(log_gamma))).sum())

    def excess(log_gamma: float) -> float:
        z = learnt(log_gamma)
        return z + ridge * features / (math.exp(log_gamma) * (features - z)) - samples

    top = math.log(float(values.sum()) + ridge * (1 + features / samples)) + 3
    bottom = top
    while learnt(bottom - 1) < features and excess(bottom) < 0:
        bottom -= 1
    if excess(bottom) < 0:  # between here and one less lies the gamma at which all features are used
        full = brentq(lambda at: learnt(at) - features, bottom - 1, bottom, xtol=1e-15, rtol=1e-15)
        gap = bottom - full
        while excess(full + gap) < 0:
            gap /= 2
        bottom = full + gap
    gamma = math.exp(brentq(excess, bottom, top, xtol=1e-14, rtol=1e-14))
    share = values / (values + gamma)
    z, q = float(share.sum()), float(share.square().sum())
    # Of the two equations for kappa the one in which less cancels: a small ridge brings z to the smaller of n and k.
    kappa = ridge / (samples - z) if samples > features else gamma * (features - z) / features
    left = gamma / (values + gamma) - kappa * values / (values + gamma).square() * features / (features - q)
    shrunk = 1 - (q * (features - 2 * z) + z**2) / (samples * (features - q))
    test = (float((left * target.square()).sum()) + noise) / shrunk
    return RandomFeaturesPoint(share, test, (ridge / (samples * kappa)) ** 2 * test, gamma, kappa)
