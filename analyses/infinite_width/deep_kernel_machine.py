"""Deep kernel machines: infinitely wide networks that learn their kernels, layer by layer, from the targets."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from ...kernels.arguments import check_finite
from .dense import DenseNetwork, input_layer


class LearnedKernels(NamedTuple):
    """What a deep kernel machine ends at.

    grams: of the pre-activations of each hidden layer, [N, N]. kernel: of the outputs, [N, N]. log_likelihood: of the targets, in
    nats. objective: the log-likelihood less the divergences, each times its strength, after each step.
    """

    grams: list[Tensor]
    kernel: Tensor
    log_likelihood: float
    objective: list[float]


def deep_kernel_machine(
    network: DenseNetwork, x: Tensor, targets: Tensor, strength: float, noise: float, steps: int = 500
) -> LearnedKernels:
    """Choose the Gram matrices of all hidden layers for the targets, held to what the layers before them would give.

    The objective is log N(Y; 0, K(G_L) + noise I) - strength sum_l KL(N(0, G_l) | N(0, K(G_{l-1}))), K a layer's map of kernels
    and G_0 that of the first linear map of the inputs (Yang et al. 2021, arXiv:2108.13097): the exact limit of a deep
    Gaussian process whose layers and outputs grow in proportion, strength being hidden units for one output. As it grows no layer
    learns, and every G is that of the infinitely wide network; where it is about 1 the kernels bend towards the targets.

    network: of L + 1 hidden layers, the first of which is not learned since its inputs are given; its nonlinearity and variances
    are those of the map. x: [N, d], distinct points. targets: [N, O]. strength, noise: positive. steps: of L-BFGS, at most.

    Raises ValueError for other shapes, numbers that are not positive, a network of one hidden layer, and a layer's kernel that is
    singular, where the divergence has no finite value; NonFiniteError for NaN and infinity.
    """
    if targets.ndim != 2 or len(targets) != len(x) or not (0 < strength < inf and 0 < noise < inf):
        found = f"{tuple(targets.shape)}, {strength} and {noise}"
        raise ValueError(f"targets [{len(x)}, O], finite strength > 0 and noise > 0 are needed, got {found}")
    check_finite(x=x, targets=targets)
    network.check(x)
    if network.depth < 2:
        raise ValueError("a network of one hidden layer has no layer to learn; give it two or more")
    given = input_layer(x.double(), x.double(), network.weight_variance, network.bias_variance).cross
    first = next_gram(network, given)
    grams = [first]
    for _ in range(network.depth - 2):
        grams.append(next_gram(network, grams[-1]))
    check_finite(**{f"the kernel of hidden layer {layer}": gram for layer, gram in enumerate(grams, 1)})
    if any(int(torch.linalg.cholesky_ex(gram).info) for gram in grams):
        raise ValueError("the kernel of a layer is singular on these points; give biases, fewer points or more features")
    whitening = [torch.linalg.cholesky(gram) for gram in grams]
    own, objective = targets.double(), list[float]()

    def lost(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(numbers.reshape(len(grams), len(x), len(x)), requires_grad=True)
        value = -_objective(network, _grams(whitening, at), first, own, strength, noise)[0]
        value.backward()
        assert at.grad is not None
        return float(value.detach()), at.grad.numpy().ravel()

    def note(intermediate_result: OptimizeResult) -> None:
        objective.append(-float(intermediate_result.fun))

    begin = np.zeros(len(grams) * len(x) ** 2)
    options = {"maxiter": steps, "ftol": 1e-15, "gtol": 1e-10 * max(1.0, strength)}
    found = minimize(lost, begin, jac=True, method="L-BFGS-B", callback=note, options=options)
    with torch.no_grad():
        learned = _grams(whitening, torch.tensor(found.x.reshape(len(grams), len(x), len(x))))
        likelihood = _objective(network, learned, first, own, strength, noise)[1]
        return LearnedKernels(learned, next_gram(network, learned[-1]), float(likelihood), objective)


def next_gram(network: DenseNetwork, gram: Tensor) -> Tensor:
    """K(G) = w E[f f] + s, the Gram matrix of the pre-activations behind a nonlinearity, from that before it."""
    own, same = gram.diagonal(), torch.eye(len(gram), dtype=torch.bool)
    apart = network.nonlinearity.covariance(gram.masked_fill(same, 0.0), own[:, None], own[None])
    exact = torch.where(same, network.nonlinearity.variance(own)[:, None], apart)  # autograd finds no slope at angle zero
    return network.weight_variance * exact + network.bias_variance


def _objective(
    network: DenseNetwork, grams: list[Tensor], first: Tensor, targets: Tensor, strength: float, noise: float
) -> tuple[Tensor, Tensor]:
    divergence, expected = torch.zeros((), dtype=torch.float64), first
    for gram in grams:
        divergence = divergence + _divergence(gram, expected)
        expected = next_gram(network, gram)
    likelihood = _log_likelihood(expected + noise * torch.eye(len(first), dtype=torch.float64), targets)
    return likelihood - strength * divergence, likelihood


def _grams(whitening: list[Tensor], numbers: Tensor) -> list[Tensor]:
    """C A A^T C^T of each layer, A lower triangular with a positive diagonal: any numbers [L, N, N] give positive matrices, and
    zeros those of the infinitely wide network.
    """
    lower = numbers.tril(-1) + torch.diag_embed(numbers.diagonal(dim1=1, dim2=2).exp())
    factors = [own @ part for own, part in zip(whitening, lower, strict=True)]
    return [factor @ factor.T for factor in factors]


def _divergence(gram: Tensor, expected: Tensor) -> Tensor:
    """KL(N(0, G) | N(0, K)) = (tr K^{-1} G - log det K^{-1} G - N) / 2."""
    factor = torch.linalg.cholesky(expected)
    ratio = torch.cholesky_solve(gram, factor)
    log_determinants = torch.linalg.slogdet(gram).logabsdet - 2 * factor.diagonal().log().sum()
    divergence: Tensor = (ratio.trace() - log_determinants - len(gram)) / 2
    return divergence


def _log_likelihood(kernel: Tensor, targets: Tensor) -> Tensor:
    """log N(Y; 0, K), summed over the columns of Y, in nats."""
    factor = torch.linalg.cholesky(kernel)
    misfit = (targets * torch.cholesky_solve(targets, factor)).sum()
    size = 2 * factor.diagonal().log().sum() + len(kernel) * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    likelihood: Tensor = -(misfit + targets.shape[1] * size) / 2
    return likelihood
