"""Many multinomial logistic regressions on one set of features, solved side by side by L-BFGS.

An iteration costs two products with the features for all problems together: of the step, which gives how every logit moves, so
that the line search needs no product, and of the residuals, which gives the gradient.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .gram import Axes, back, times

MEMORY = 10  # pairs of steps and gradient changes that L-BFGS keeps
ENTRIES = 2**25  # logits that are held at a time, which bounds memory
SUFFICIENT = 1e-4  # share of the promised decrease that a step must give (Armijo)
HALVINGS = 30


@dataclass(frozen=True)
class Problems:
    """B problems: loss_b = sum_n m_bn (-log softmax(x_n W_b + c_b)[y_bn]) / sum_n m_bn + penalty_b / 2 |W_b|^2.

    x: features [D, N] along their principal axes, of mean 0. variances: along each axis, [D]. targets: y, whole numbers [B, N].
    weights: m, [B, N], at least 0. penalties: [B]. classes: C. A solution is [B, C, D + 1], its last column c. Logits are
    [B, C, N], so that all that is done for each sample runs along memory.
    """

    x: Axes
    variances: Tensor
    targets: Tensor
    weights: Tensor
    penalties: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.targets)

    def of(self, which: Tensor) -> Problems:
        """Select some of the problems, by index or mask."""
        return replace(self, targets=self.targets[which], weights=self.weights[which], penalties=self.penalties[which])

    def logits(self, solutions: Tensor) -> Tensor:
        """Compute the logits of solutions [B, C, D + 1]: [B, C, N]."""
        return times(solutions[..., :-1].flatten(0, 1), self.x).unflatten(0, solutions.shape[:2]) + solutions[..., -1:]

    def loss(self, logits: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses [B], and the logarithm of the sum of exponentials [B, N]. squares: |W_b|^2."""
        total = logits.logsumexp(1)
        own = logits.gather(1, self.targets[:, None])[:, 0] - total
        return -(own * self.weights).sum(1) / self.weights.sum(1) + self.penalties / 2 * squares, total

    def gradient(self, logits: Tensor, total: Tensor, solutions: Tensor) -> Tensor:
        """Compute the gradient, which has the shape of the solutions, [B, C, D + 1]. total: of `loss`."""
        residual = (logits - total[:, None]).exp_()
        residual.scatter_add_(1, self.targets[:, None], -torch.ones_like(residual[:, :1]))
        residual *= (self.weights / self.weights.sum(1, keepdim=True))[:, None]
        across = back(residual.flatten(0, 1), self.x).unflatten(0, residual.shape[:2])
        across += self.penalties[:, None, None] * solutions[..., :-1]
        return torch.cat([across, residual.sum(2, keepdim=True)], dim=2)

    def inverse_curvature(self) -> Tensor:
        """Invert the Hessian where all classes are equally likely, (variance / classes + penalty): [B, 1, D + 1]."""
        curvature = self.variances / self.classes + self.penalties[:, None]
        return 1 / torch.cat([curvature, torch.full_like(curvature[:, :1], 1 / self.classes)], dim=1)[:, None]


def solve(problems: Problems, tolerance: float, iterations: int, start: Tensor | None = None) -> Tensor:
    """The solutions [B, C, D + 1], up to a gradient whose largest entry is `tolerance`, or as far as `iterations` reach.

    start: where to begin, zero when None.
    """
    if start is None:
        start = torch.zeros(len(problems), problems.classes, problems.x.shape[0] + 1, dtype=problems.x.dtype)
    together = max(1, ENTRIES // (problems.x.shape[1] * problems.classes))
    parts = torch.arange(len(problems)).split(together)
    return torch.cat([_Descent(problems.of(part), start[part]).run(tolerance, iterations) for part in parts])


class _Descent:
    """The state of the problems that are not solved yet."""

    def __init__(self, problems: Problems, start: Tensor) -> None:
        self.solved = start.clone()
        self.open = torch.arange(len(problems))
        self.problems, self.at = problems, start
        self.logits = problems.logits(start)
        self.loss, total = problems.loss(self.logits, _squares(start))
        self.gradient = problems.gradient(self.logits, total, start)
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
        length = torch.ones_like(self.loss)
        here = _squares(self.at)
        for _ in range(HALVINGS):
            squares = here + 2 * length * across + length.square() * along
            logits = self.logits + length[:, None, None] * moved
            loss, total = self.problems.loss(logits, squares)
            accepted = loss <= self.loss + SUFFICIENT * length * slope
            if bool(accepted.all()):
                break
            length = torch.where(accepted, length, length / 2)
        if not bool(accepted.all()):  # what cannot descend stays where it is
            length = torch.where(accepted, length, 0.0)
            logits = self.logits + length[:, None, None] * moved
            loss, total = self.problems.loss(logits, here + 2 * length * across + length.square() * along)
        step = length[:, None, None] * direction
        self.at, self.logits, self.loss = self.at + step, logits, loss
        gradient = self.problems.gradient(logits, total, self.at)
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
    return (left[..., :-1] * right[..., :-1]).sum((1, 2))


def _squares(solutions: Tensor) -> Tensor:
    return _inner(solutions, solutions)
