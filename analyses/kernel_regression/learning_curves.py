"""Learning curves on the cube: the eigenframework's prediction, kernel regression, random features and networks beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from ...probe.results.intervals import mean_and_reach
from .results.learning_curves import LearningCurves


@dataclass(frozen=True)
class Cube:
    """All points of the cube {-1, 1}^d, a kernel on them that permuting or flipping coordinates leaves, and its eigenfunctions.

    points: [2^d, d]. kernel: [2^d, 2^d]. modes: [2^d, 2^d], column m the product of the coordinates whose bits m has.
    eigenvalues: [2^d], of the kernel under the uniform law.
    """

    points: Tensor
    kernel: Tensor
    modes: Tensor
    eigenvalues: Tensor

    @classmethod
    def of(cls, dimension: int, kernel: Callable[[Tensor], Tensor]) -> Cube:
        """Decompose a kernel, a function of points [2^d, d]. Raises ValueError if parities are no eigenfunctions of it."""
        points = torch.tensor(list(product((-1.0, 1.0), repeat=dimension)), dtype=torch.float64)
        bits = [[bool(mode & (1 << bit)) for bit in range(dimension)] for mode in range(2**dimension)]
        modes = torch.stack([points[:, own].prod(1) for own in bits], 1)
        values = kernel(points)
        eigenvalues = (modes * (values @ modes)).mean(0) / len(points)
        if float((values @ modes / len(points) - modes * eigenvalues).abs().max()) > 1e-9 * float(eigenvalues.max()):
            raise ValueError("the products of coordinates are not the eigenfunctions of this kernel")
        return cls(points, values, modes, eigenvalues)

    def parity(self, order: int) -> int:
        """The column of the product of the first `order` coordinates."""
        return (1 << order) - 1


def measured_row(
    learner: str, target: str, over: str, size: int, predicted: float, errors: Sequence[float]
) -> tuple[object, ...]:
    """A row of LearningCurves from the errors of several draws; the interval of one draw has no width."""
    mean, reach = map(float, mean_and_reach(errors))
    reach = reach if len(errors) > 1 else 0.0
    return learner, target, over, size, predicted, mean, mean - reach, mean + reach, len(errors)


def learning_curves(rows: Sequence[tuple[object, ...]]) -> LearningCurves:
    return LearningCurves(pd.DataFrame(rows, columns=list(LearningCurves.columns)))
