"""R-LACE: the projection off few directions after which the best linear probe does worst."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..configuration import Count, Positive
from ..estimators.quasi_newton import Problems, solve
from ..subspaces.sides import Side
from .eraser import Eraser, EraserFitter, classified

EVERY = 10  # steps between looks at how good the projection is


@dataclass(frozen=True)
class Rlace(EraserFitter, kind="rlace"):
    """Linear adversarial concept erasure (Ravfogel et al. 2022, arXiv:2201.12091): x - U U^T (x - mean), with U of a given rank.

    The game max_P min_W L(W, (I - P) x) of a logistic probe W and a projection P of rank k, relaxed to the Fantope {0 <= P <= I,
    tr P = k}: the probe is solved, P moves along the gradient of its loss and is projected back, and the U with the largest loss
    is kept. No loss is larger than that of answering without the activations, which the mean projection reaches with as many
    dimensions as there are classes, less one. Its leading dimensions are therefore the first U there is; the game is for fewer.
    """

    rank: Count = 1
    """This many dimensions are taken out."""
    steps: Count = 150
    """The projection is moved this many times."""
    step_size: Positive = 0.2
    """The first step has this length, as a Frobenius norm; they shrink with the square root of their number."""
    penalty: Positive = 1e-3
    """The probe's loss has this over 2 times its squared weights."""
    tolerance: Positive = 1e-4
    """A probe counts as solved when no entry of the gradient of its loss is larger than this."""

    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        x, classes = classified(features, labels, name)
        mean = x.mean(0)
        values, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        axes = axes[:, values > 1e-10 * values[-1]]
        if axes.shape[1] <= self.rank:
            raise ValueError(f"{name}: {axes.shape[1]} dimensions vary, and {self.rank} are to be erased; take a smaller rank")
        game = _Game((x - mean) @ axes / values.mean().sqrt(), classes, self)
        basis = axes @ game.play()
        return Eraser(basis, basis.T, mean, hook, name, side)


class _Game:
    """Centred features [N, r] with classes [N], and where the players stand: the relaxed projection, the probe [1, C, r + 1]."""

    def __init__(self, x: Tensor, classes: Tensor, settings: Rlace) -> None:
        self.x, self.settings = x, settings
        self.names, self.index = classes.unique(return_inverse=True)
        self.relaxed = torch.eye(x.shape[1], dtype=x.dtype) * settings.rank / x.shape[1]
        self.probe: Tensor | None = None

    def play(self) -> Tensor:
        """The basis [r, k] that leaves the largest loss."""
        best = self._mean_projection()
        most = self.loss(best @ best.T)
        for step in range(self.settings.steps + 1):
            if step % EVERY == 0 or step == self.settings.steps:
                basis = self._rounded()
                left = self.loss(basis @ basis.T)
                best, most = (basis, left) if left > most else (best, most)
            self._move(self.settings.step_size / (1 + step) ** 0.5)
        return best

    def loss(self, projection: Tensor) -> float:
        """The loss of the best probe on the features without a projection."""
        problems = self._problems(projection)
        found = solve(problems, self.settings.tolerance, 300)
        return float(problems.loss(problems.logits(found), found[..., :-1].square().sum((1, 2)))[0])

    def _move(self, length: float) -> None:
        """Solve the probe, and move the projection where its loss grows: dL/dP = -x^T (p - y) W / N (Danskin's theorem)."""
        problems = self._problems(self.relaxed)
        self.probe = solve(problems, self.settings.tolerance, 50, self.probe)
        residual = problems.logits(self.probe)[0].softmax(0)
        residual[self.index, torch.arange(len(self.x))] -= 1
        gradient = -(residual @ self.x).T @ self.probe[0, :, :-1] / len(self.x)
        gradient = (gradient + gradient.T) / 2
        moved = self.relaxed + length * gradient / gradient.norm().clamp(min=1e-12)
        self.relaxed = onto_fantope(moved, self.settings.rank)

    def _problems(self, projection: Tensor) -> Problems:
        left = (self.x - self.x @ projection).T.contiguous()
        ones = torch.ones(1, len(self.x), dtype=left.dtype)
        penalty = torch.tensor([self.settings.penalty], dtype=left.dtype)
        return Problems(left, left.square().mean(1), self.index[None], ones, penalty, len(self.names))

    def _mean_projection(self) -> Tensor:
        """The leading directions that the means of the classes lie along, [r, k]."""
        means = torch.stack([self.x[self.index == number].sum(0) for number in range(len(self.names))])
        return torch.linalg.svd(means.T, full_matrices=True)[0][:, : self.settings.rank]

    def _rounded(self) -> Tensor:
        return torch.linalg.eigh(self.relaxed)[1][:, -self.settings.rank :]


def onto_fantope(matrix: Tensor, rank: int) -> Tensor:
    """The nearest symmetric matrix with eigenvalues in [0, 1] of sum `rank`: they are shifted alike and cut (Vu et al. 2013)."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    low, high = values.min() - 1, values.max()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (values - middle).clamp(0, 1).sum() > rank else (low, middle)
    return (vectors * (values - (low + high) / 2).clamp(0, 1)) @ vectors.T
