"""Laws of large random matrices that speak of the Hessian of a batch: what sampling adds to its spectrum."""

from __future__ import annotations

import math


def batch_noise_edge(noise: float, size: int, batch: int) -> float:
    """The edge of the eigenvalues that sampling alone makes: 2 noise sqrt(size / batch), the radius of Wigner's semicircle.

    A batch's Hessian is taken as the true one plus a symmetric matrix [size, size] of independent entries with variance
    noise^2 / batch (Granziol, Zohren and Roberts 2022, arXiv:2006.09092). Raises ValueError for numbers that are not positive.
    """
    if not noise > 0 or size < 1 or batch < 1:
        raise ValueError(f"noise, size and batch must be positive, got {noise}, {size} and {batch}")
    return 2 * noise * math.sqrt(size / batch)


def batch_outlier(eigenvalue: float, noise: float, size: int, batch: int) -> float:
    """Where an outlying eigenvalue of the true Hessian is found in a batch's: l + noise^2 (size / batch) / l, if it is found.

    Below l = noise sqrt(size / batch) the eigenvalue drowns, and the edge of the noise is the largest (Granziol, Zohren and
    Roberts 2022, arXiv:2006.09092; Capitaine, Donati-Martin and Feral 2009, arXiv:0706.0136). It is the limit of large
    matrices with few outliers over a bulk at zero.

    eigenvalue: l, positive. noise: standard deviation of an entry for a batch of one. Raises ValueError for numbers that are not
    positive: outliers below the bulk are those of minus the matrix.
    """
    edge = batch_noise_edge(noise, size, batch)
    if not eigenvalue > 0:
        raise ValueError(f"the eigenvalue must be positive, got {eigenvalue}")
    return eigenvalue + edge**2 / (4 * eigenvalue) if eigenvalue > edge / 2 else edge


def largest_batch_step(eigenvalue: float, noise: float, size: int, batch: int) -> float:
    """The largest step of descent that is stable on a batch's Hessian, 2 / `batch_outlier`.

    While noise prevails it grows as the root of the batch at the edge, and it ends at 2 / eigenvalue for large batches, where
    `batch_outlier` shrinks as 1 / batch to the eigenvalue (Granziol, Zohren and Roberts 2022, arXiv:2006.09092).
    """
    return 2 / batch_outlier(eigenvalue, noise, size, batch)


def covariance_edges(ratio: float) -> tuple[float, float]:
    """Between which eigenvalues those of a sample covariance lie, (1 -+ sqrt(ratio))^2, of dimensions that have variance one.

    ratio: of dimensions to samples (Marchenko and Pastur 1967). Above 1 there are zeros besides, a share 1 - 1 / ratio of all:
    the edges are those of the others. A Gauss-Newton matrix of independent gradients is such a matrix. Raises ValueError for a
    ratio that is not positive.
    """
    if not ratio > 0:
        raise ValueError(f"the ratio of dimensions to samples must be positive, got {ratio}")
    return (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2


def covariance_outlier(eigenvalue: float, ratio: float) -> float:
    """Where one large variance l among variances of one is found in a sample covariance: l (1 + ratio / (l - 1)), if it is found.

    Below l = 1 + sqrt(ratio) it drowns, and the upper edge of the others is the largest (Baik and Silverstein 2006,
    arXiv:math/0408165). It is the limit of many dimensions and samples.

    eigenvalue: l, above 1. ratio: of dimensions to samples. Raises ValueError for others.
    """
    _, edge = covariance_edges(ratio)
    if not eigenvalue > 1:
        raise ValueError(f"the eigenvalue must be above the variance 1 of the others, got {eigenvalue}")
    return eigenvalue * (1 + ratio / (eigenvalue - 1)) if eigenvalue > 1 + math.sqrt(ratio) else edge
