"""Learning curves: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


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
                lines.append(Line(x, one["predicted"].to_numpy(), f"predicted, {target}", dashed=True, beside=str(target)))
            title = f"{str(learner).capitalize()}"
            panels.append(Panel(lines, str(over), "test error", title, x_log=True, y_log=True))
        return Figure(self.title, panels, alt=f"Test errors and their predictions. {self.summary()}")
