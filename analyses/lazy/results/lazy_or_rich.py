"""Lazy or rich: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.intervals import line_of_means
from ....probe.results.result import Result
from ....probe.statistics.power_laws import exponent

COLUMNS = {
    "width": "units a layer",
    "scale": "alpha: the network is alpha (f - f_0)",
    "seed": "draw of the network's weights",
    "kernel_change": "|K - K_0|_F / |K_0|_F of the tangent kernel on the training set",
    "movement": "|theta - theta_0| / |theta_0|",
    "departure": "root mean square over test points of network minus linearised network, at the last step",
    "alignment_before": "centred alignment of the kernel with the targets, at the start",
    "alignment_after": "the same after training",
    "train_error": "mean squared error of the trained network on the training set",
    "test_error": "the same on the test set",
    "predicted_error": "test error of descent with the kernel at the start, at the same step",
    "after_error": "test error of regression with the kernel after training",
}


@dataclass(frozen=True)
class LazyOrRich(Result, kind="lazy_or_rich"):
    """How far networks of several widths and scales leave the lazy regime, and what that does to their error."""

    title: ClassVar[str] = "Lazy or rich"
    columns: ClassVar[dict[str, str]] = COLUMNS
    selected_by: ClassVar[tuple[str, ...] | None] = ("width", "scale", "seed")

    def slope(self, column: str, over: str) -> float:
        """The exponent of a power law fitted to a column's mean over seeds, over the widths at the least scale or the scales at
        the least width.

        Raises ValueError where there are not two values of `over`.
        """
        own = self._along(over)
        means = own.groupby(over)[column].mean()
        if len(means) < 2:
            raise ValueError(f"a slope over {over} needs two values of it")
        return exponent(means.index.to_numpy(), means.to_numpy())

    def summary(self) -> str:
        lines = []
        for over in ("width", "scale"):
            if self._along(over)[over].nunique() > 1:
                change, apart = self.slope("kernel_change", over), self.slope("departure", over)
                lines.append(
                    f"over the {over}: kernel change ~ {over}^{change:.2f}, departure from the linearised ~ {over}^{apart:.2f}"
                )
        errors = self.table.groupby(["width", "scale"])[["test_error", "predicted_error", "after_error"]].mean()
        for (width, scale), row in errors.iterrows():
            lines.append(
                f"width {width}, scale {scale:g}: test error {row.test_error:.4g}, by the kernel at the start "
                f"{row.predicted_error:.4g}, by the kernel after training {row.after_error:.4g}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for over, x_label in (("width", "width"), ("scale", "output scale")):
            own = self._along(over)
            if own[over].nunique() < 2:
                continue
            lines = [
                line_of_means(own, over, "kernel_change", "change of the kernel"),
                line_of_means(own, over, "departure", "departure from the linearised"),
            ]
            if over == "scale":
                lines.append(line_of_means(own, over, "movement", "movement of the parameters"))
            power = -0.5 if over == "width" else -1.0
            first = lines[0]
            theory = Line(first.x, first.y[0] * (first.x / first.x[0]) ** power, f"{over}^{power:g}", dashed=True)
            panels.append(
                Panel([*lines, theory], x_label, "relative difference", f"Toward lazy: {x_label}", x_log=True, y_log=True)
            )
            errors = [
                line_of_means(own, over, "test_error", "network"),
                line_of_means(own, over, "predicted_error", "predicted: kernel at the start"),
                line_of_means(own, over, "after_error", "kernel after training"),
            ]
            panels.append(Panel(errors, x_label, "test error", f"Error: {x_label}", x_log=True))
        return Figure(self.title, panels, alt=f"Change of tangent kernels and errors by width and scale. {self.summary()}")

    def _along(self, over: str) -> pd.DataFrame:
        other = "scale" if over == "width" else "width"
        return self.table[self.table[other] == self.table[other].min()]
