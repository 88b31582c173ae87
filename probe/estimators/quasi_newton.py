"""Many multinomial logistic regressions on one set of features, solved side by side by L-BFGS.

An iteration costs two products with the features for all problems together: of the step, which gives how every logit moves, so
that the line search needs no product, and of the residuals, which gives the gradient.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import torch
from torch import Tensor

MEMORY = 10  # pairs of steps and gradient changes that L-BFGS keeps
ENTRIES = 2**25  # logits that are held at a time, which bounds memory
SUFFICIENT = 1e-4  # share of the promised decrease that a step must give (Armijo)
HALVINGS = 30


@dataclass(frozen=True)
class Problems:
    """B problems: loss_b = sum_n m_bn (-log softmax(x_n W_b + c_b)[y_bn]) / sum_n m_bn + penalty_b / 2 |W_b|^2.

    x: features [N, D] along their principal axes, of mean 0. variances: along each axis, [D]. targets: y, whole numbers [B, N].
    weights: m, [B, N], 0 or 1. penalties: [B]. classes: how many. A solution is [B, D + 1, classes], its last row c.
    """

    x: Tensor
    variances: Tensor
    targets: Tensor
    weights: Tensor
    penalties: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.targets)

    def of(self, which: Tensor) -> Problems:
        """Some of the problems."""
        return replace(self, targets=self.targets[which], weights=self.weights[which], penalties=self.penalties[which])

    def logits(self, solutions: Tensor) -> Tensor:
        """[B, N, classes]."""
        flat = solutions[:, :-1].permute(1, 0, 2).flatten(1)
        return (self.x @ flat).view(len(self.x), len(solutions), -1).transpose(0, 1) + solutions[:, -1:]

    def loss(self, logits: Tensor, squares: Tensor) -> Tensor:
        """[B]; squares: |W_b|^2."""
        own = logits.gather(2, self.targets[..., None])[..., 0] - logits.logsumexp(2)
        return -(own * self.weights).sum(1) / self.weights.sum(1) + self.penalties / 2 * squares

    def gradient(self, logits: Tensor, solutions: Tensor) -> Tensor:
        """As the solutions, [B, D + 1, classes]."""
        residual = logits.softmax(2)
        residual.scatter_add_(2, self.targets[..., None], -torch.ones_like(self.targets, dtype=residual.dtype)[..., None])
        residual *= (self.weights / self.weights.sum(1, keepdim=True))[..., None]
        across = self.x.T @ residual.transpose(0, 1).reshape(len(self.x), -1)
        across = across.view(-1, len(self), self.classes).transpose(0, 1) + self.penalties[:, None, None] * solutions[:, :-1]
        return torch.cat([across, residual.sum(1, keepdim=True)], dim=1)

    def inverse_curvature(self) -> Tensor:
        """[B, D + 1, 1]: the inverse of the Hessian where all classes are equally likely, (variance / classes + penalty)."""
        curvature = self.variances / self.classes + self.penalties[:, None]
        return 1 / torch.cat([curvature, torch.full_like(curvature[:, :1], 1 / self.classes)], dim=1)[..., None]


def solve(problems: Problems, tolerance: float, iterations: int, start: Tensor | None = None) -> Tensor:
    """The solutions [B, D + 1, classes], up to a gradient whose largest entry is `tolerance`, or as far as `iterations` reach.

    start: where to begin, zero when None.
    """
    if start is None:
        start = problems.x.new_zeros(len(problems), problems.x.shape[1] + 1, problems.classes)
    together = max(1, ENTRIES // (len(problems.x) * problems.classes))
    parts = torch.arange(len(problems)).split(together)
    return torch.cat([_Descent(problems.of(part), start[part]).run(tolerance, iterations) for part in parts])


class _Descent:
    """The state of the problems that are not solved yet."""

    def __init__(self, problems: Problems, start: Tensor) -> None:
        self.solved = start.clone()
        self.open = torch.arange(len(problems))
        self.problems, self.at = problems, start
        self.logits = problems.logits(start)
        self.loss = problems.loss(self.logits, _squares(start))
        self.gradient = problems.gradient(self.logits, start)
        self.scaling = problems.inverse_curvature()
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)

    def run(self, tolerance: float, iterations: int) -> Tensor:
        for _ in range(iterations):
            done = self.gradient.abs().amax((1, 2)) <= tolerance
            if bool(done.any()):
                self._keep(~done)
            if not len(self.open):
                break
            stuck = self._step()
            if bool(stuck.any()):
                self._keep(~stuck)
        self.solved[self.open] = self.at
        return self.solved

    def _keep(self, still: Tensor) -> None:
        """Put away what is solved, and go on with the others alone."""
        self.solved[self.open[~still]] = self.at[~still]
        self.open = self.open[still]
        self.problems = self.problems.of(still)
        for name in ("at", "logits", "loss", "gradient", "scaling"):
            setattr(self, name, getattr(self, name)[still])
        self.pairs = deque(((s[still], y[still], rho[still]) for s, y, rho in self.pairs), maxlen=MEMORY)

    def _step(self) -> Tensor:
        """Move each problem along its direction; returns which cannot descend any further in this precision, [B]."""
        direction = -self._inverse_hessian(self.gradient)
        slope = (direction * self.gradient).sum((1, 2))
        moved = self.problems.logits(direction)
        across, along = _inner(self.at, direction), _inner(direction, direction)
        length, accepted = torch.ones_like(self.loss), torch.zeros_like(self.loss, dtype=torch.bool)
        now, here = self.loss.clone(), _squares(self.at)
        for _ in range(HALVINGS):
            trial = self.problems.loss(
                self.logits + length[:, None, None] * moved, here + 2 * length * across + length.square() * along
            )
            better = ~accepted & (trial <= self.loss + SUFFICIENT * length * slope)
            now = torch.where(better, trial, now)
            accepted |= better
            if bool(accepted.all()):
                break
            length = torch.where(accepted, length, length / 2)
        length = torch.where(accepted, length, 0.0)[:, None, None]
        step = length * direction
        self.at, self.logits, self.loss = self.at + step, self.logits.add_(length * moved), now
        gradient = self.problems.gradient(self.logits, self.at)
        change = gradient - self.gradient
        curvature = (step * change).sum((1, 2))
        self.pairs.append((step, change, torch.where(curvature > 0, 1 / curvature, 0.0)))
        self.gradient = gradient
        return ~accepted

    def _inverse_hessian(self, vector: Tensor) -> Tensor:
        """The two-loop recursion of L-BFGS (Nocedal 1980), from the curvature that the features give."""
        vector = vector.clone()
        weights = []
        for step, change, rho in reversed(self.pairs):
            weight = rho * (step * vector).sum((1, 2))
            vector -= weight[:, None, None] * change
            weights.append(weight)
        if self.pairs:
            step, change, rho = self.pairs[-1]
            size = (change * self.scaling * change).sum((1, 2))
            gamma = torch.where(rho > 0, 1 / (rho * size).clamp(min=torch.finfo(size.dtype).tiny), 1.0)
            vector = gamma[:, None, None] * self.scaling * vector
        else:
            vector = self.scaling * vector
        for (step, change, rho), weight in zip(self.pairs, reversed(weights), strict=True):
            vector += (weight - rho * (change * vector).sum((1, 2)))[:, None, None] * step
        return vector


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Over weights, without intercepts."""
    return (left[:, :-1] * right[:, :-1]).sum((1, 2))


def _squares(solutions: Tensor) -> Tensor:
    return _inner(solutions, solutions)
