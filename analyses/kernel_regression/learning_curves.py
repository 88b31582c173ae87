"""Learning curves on the cube: the eigenframework's prediction, kernel regression, random features and networks beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.intervals import mean_and_reach
from ...probe.results.result import Result


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


@dataclass(frozen=True)
class LearningCurves(Result, kind="learning_curves"):
    """Test errors against the number of samples or features, predicted from a spectrum and measured."""

    title: ClassVar[str] = "Learning curves"
    columns: ClassVar[dict[str, str]] = {
        "learner": "what learns: kernel regression, random features or a network",
        "target": "the function that is learnt",
        "over": "what the size counts: samples or features",
        "size": "number of samples or features",
        "predicted": "mean squared test error by the eigenframework",
        "measured": "the mean over draws",
        "low": "lower end of its 95% interval",
        "high": "upper end",
        "draws": "draws of samples, features and weights that were measured",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("learner", "target")

    @property
    def worst(self) -> float:
        """The largest relative difference between predicted and measured where the error is above 0.02."""
        own = self.table[(self.table["measured"] > 0.02)]
        return float(((own["measured"] - own["predicted"]).abs() / own["predicted"]).max())

    def summary(self) -> str:
        lines = []
        for learner, own in self.table.groupby("learner", sort=False):
            apart = ((own["measured"] - own["predicted"]).abs() / own["predicted"])[own["measured"] > 0.02]
            inside = ((own["low"] <= own["predicted"]) & (own["predicted"] <= own["high"])).sum()
            lines.append(
                f"{learner}: off the prediction by {apart.median():.1%} in the median of errors above 0.02, {apart.max():.1%} at "
                f"most; {inside} of {len(own)} predictions lie within the interval of what was measured"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for (learner, over), own in self.table.groupby(["learner", "over"], sort=False):
            lines = []
            for target, one in own.groupby("target", sort=False):
                x, low = one["size"].to_numpy(float), one["low"].to_numpy()
                measured = one["measured"].to_numpy()
                bottom = np.maximum(low, 0.2 * measured)
                lines.append(Line(x, measured, str(target), bottom, one["high"].to_numpy(), markers=True))
                lines.append(Line(x, one["predicted"].to_numpy(), f"predicted, {target}", dashed=True))
            title = f"{str(learner).capitalize()}"
            panels.append(Panel(lines, str(over), "test error", title, x_log=True, y_log=True))
        return Figure(self.title, panels, alt=f"Test errors and their predictions. {self.summary()}")


def measured_row(
    learner: str, target: str, over: str, size: int, predicted: float, errors: Sequence[float]
) -> tuple[object, ...]:
    """A row of LearningCurves from the errors of several draws; the interval of one draw has no width."""
    mean, reach = map(float, mean_and_reach(errors))
    reach = reach if len(errors) > 1 else 0.0
    return learner, target, over, size, predicted, mean, mean - reach, mean + reach, len(errors)


def learning_curves(rows: Sequence[tuple[object, ...]]) -> LearningCurves:
    return LearningCurves(pd.DataFrame(rows, columns=list(LearningCurves.columns)))
