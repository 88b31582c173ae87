"""Dense networks in any abc-parametrisation, and descent with the learning rates that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...kernels.arguments import NonFiniteError
from ...probe.errors import unknown_name
from ..infinite_width.nonlinearities import Identity, Nonlinearity
from ..operators.precise import precise_numbers


class Exponents(NamedTuple):
    """How the first, the hidden and the last weights scale with the width n (Yang and Hu 2021, arXiv:2011.14522).

    W = n^{-a} w with w ~ N(0, n^{-2 b}), trained at the rate eta n^{-c}.
    """

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    c: float = 0.0


PARAMETRISATIONS = {
    "standard": Exponents((0, 0, 0), (0, 0.5, 0.5)),
    "ntk": Exponents((0, 0.5, 0.5), (0, 0, 0)),
    "mup": Exponents((-0.5, 0, 0.5), (0.5, 0.5, 0.5)),
    "mean_field": Exponents((0, 0, 1), (0, 0, 0), -1),
}
"""Table 1 there, for gradient descent: mean field is known for one hidden layer."""


class AbcNetwork(nn.Module):
    """A dense network without biases in an abc-parametrisation, in float64: inputs [N, d] to outputs [N, O].

    The first map is divided by sqrt(d), so that features are of size one at every width; `weight_variance` is what the standard
    parametrisation's variances are multiplied by (2 for ReLU).
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int,
        parametrisation: str,
        generator: torch.Generator,
        *,
        outputs: int = 1,
        nonlinearity: Nonlinearity | None = None,
        weight_variance: float = 1.0,
        branch: float | None = None,
    ) -> None:
        """Draw the weights.

        depth: hidden layers, one at least. parametrisation: a name of `PARAMETRISATIONS`. nonlinearity: left out, the network is
        linear. branch: what each hidden layer but the first is multiplied by before it is added to its input; left out, it takes
        its input's place. With (depth - 1)^{-1/2} training at one rate has a limit in depth too (Bordelon et al. 2023,
        arXiv:2309.16620). Raises UnknownNameError for another name, and ValueError for mean field with more than one hidden
        layer.
        """
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise unknown_name("parametrisation", parametrisation, PARAMETRISATIONS)
        if min(inputs, width, outputs) < 1:
            raise ValueError(f"inputs, width and outputs must be at least 1, got {inputs}, {width} and {outputs}")
        if depth < 1 or (parametrisation == "mean_field" and depth > 1):
            raise ValueError(f"depth={depth}: one hidden layer at least, and one alone in the mean-field parametrisation")
        self.exponents, self.nonlinearity = PARAMETRISATIONS[parametrisation], nonlinearity or Identity()
        sizes, self.width = [inputs, *([width] * depth), outputs], width
        places = [0, *([1] * (depth - 1)), 2]
        self.weights = nn.ParameterList(
            weight_variance**0.5
            * width ** -self.exponents.b[place]
            * torch.randn(sizes[i + 1], sizes[i], generator=generator, dtype=torch.float64)
            for i, place in enumerate(places)
        )
        self.multipliers = [width ** -self.exponents.a[place] for place in places]
        self.multipliers[0] /= inputs**0.5
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [N, O] of x [N, d]."""
        first, *hidden, last = zip(self.multipliers, self.weights, strict=True)
        x = self.nonlinearity(first[0] * (x @ first[1].T))
        for multiplier, weight in hidden:
            added = self.nonlinearity(multiplier * (x @ weight.T))
            x = added if self.branch is None else x + self.branch * added
        out: Tensor = last[0] * (x @ last[1].T)
        return out

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The parameters that are trained, at eta n^{-c}, for an optimiser of torch."""
        trained = [weight for weight in self.weights if weight.requires_grad]
        return [{"params": trained, "lr": rate * self.width**-self.exponents.c}]

    def train_hidden_alone(self) -> AbcNetwork:
        """Freeze the first and the last map, and give the network back."""
        self.weights[0].requires_grad_(False)
        self.weights[-1].requires_grad_(False)
        return self


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """|f - y|^2 / 2, the mean over samples and the sum over outputs. Raises ValueError for targets of another shape."""
    if outputs.shape != targets.shape:
        raise ValueError(f"targets {tuple(targets.shape)} must be shaped as the outputs {tuple(outputs.shape)}")
    return (outputs - targets).square().sum(1).mean() / 2


def descend(
    network: AbcNetwork,
    x: Tensor,
    targets: Tensor,
    rate: float,
    times: Sequence[int],
    observe: Callable[[int], None] = lambda taken: None,
) -> Tensor:
    """Train in place on half the squared error by full-batch descent; the losses [times] after these numbers of steps.

    times: in any order. observe: called with each of them, when the network stands there.

    Raises ValueError for targets of another shape than the outputs, and times below 0 or none; NonFiniteError where training
    diverges.
    """
    if not len(times) or min(times) < 0:
        raise ValueError(f"times from 0 on are needed, got {list(times)}")
    optimizer, losses = torch.optim.SGD(network.groups(rate), lr=rate), dict[int, Tensor]()
    for taken in range(max(times) + 1):
        loss = half_squared_error(network(x), targets)
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"training diverged at step {taken} with the rate {rate:.3g}; take a smaller one")
        if taken in times:
            losses[taken] = loss.detach()
            observe(taken)
        if taken < max(times):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.stack([losses[time] for time in times])


def one_step_optimum(x: Tensor, targets: Tensor, layers: int) -> float:
    """The learning rate that is best for one step of a deep linear network in muP, as its width grows.

    Of W_1 to W_L between frozen first and last maps, one step from f_0 -> 0 gives f_1 -> (eta L / m) K y with K = x x^T / d,
    since terms of higher order in eta hold f_0; half the squared error is least at eta = m y^T K y / (L y^T K^2 y) (Hayou 2025,
    arXiv:2511.01734). It does not depend on the width; in the standard parametrisation the first-order term grows with
    n, and the optimum falls as 1 / n.

    x: [m, d]. targets: [m, 1]. layers: L, 1 or more. Raises ValueError for other shapes, or targets that K does not reach.
    """
    x, targets = precise_numbers(x=(x, "m d"), targets=(targets, "m O"))
    if targets.shape[1] != 1 or layers < 1:
        raise ValueError(f"targets [{len(x)}, 1] and layers >= 1 are needed, got {tuple(targets.shape)} and {layers}")
    reached = x @ (x.T @ targets) / x.shape[1]
    if float(reached.norm()) == 0:
        raise ValueError("no step of a linear network moves it towards these targets: x^T y = 0")
    return float(len(x) * (targets * reached).sum() / (layers * reached.square().sum()))
