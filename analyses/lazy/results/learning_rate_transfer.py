"""Transfer of the learning rate: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.intervals import line_of_means
from ....probe.results.result import Result
from ....probe.statistics.power_laws import exponent


@dataclass(frozen=True)
class LearningRateTransfer(Result, kind="learning_rate_transfer"):
    """Losses of models of several widths after training at several learning rates, by parametrisation."""

    title: ClassVar[str] = "Transfer of the learning rate"
    columns: ClassVar[dict[str, str]] = {
        "parametrisation": "how weights and their changes scale with the width",
        "width": "channels of the residual stream",
        "learning_rate": "of Adam",
        "seed": "draw of the weights and of the batches",
        "loss": "mean loss over the last fifth of the steps, in nats a token; infinite where training diverged",
        "moved": "mean absolute change of the last residual stream in the first steps, relative to its mean absolute value",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("parametrisation", "width", "seed")

    def best(self) -> pd.DataFrame:
        """The best learning rate of each parametrisation and width: the vertex of a parabola through the least mean loss and its
        neighbours, over log2 of the rate, in the columns parametrisation, width and log2_rate.
        """
        rows = []
        for (name, width), own in self.table.groupby(["parametrisation", "width"], sort=False):
            rows.append((name, width, _vertex(own.groupby("learning_rate")["loss"].mean())))
        return pd.DataFrame(rows, columns=["parametrisation", "width", "log2_rate"])

    def drift(self, parametrisation: str) -> float:
        """By how many octaves the best learning rate falls while the width doubles, fitted over the widths."""
        own = self.best()
        own = own[own["parametrisation"] == parametrisation]
        return -float(np.polyfit(np.log2(own["width"].to_numpy(float)), own["log2_rate"].to_numpy(), 1)[0])

    def growth(self, parametrisation: str) -> float:
        """The exponent of the width with which features move at the least learning rate: the coordinate check, 0 for "mup"."""
        own = self.table[self.table["parametrisation"] == parametrisation]
        means = own[own["learning_rate"] == own["learning_rate"].min()].groupby("width")["moved"].mean()
        return exponent(means.index.to_numpy(), means.to_numpy())

    def summary(self) -> str:
        lines, single = [], self.table["width"].nunique() < 2
        for name in dict.fromkeys(self.table["parametrisation"]):
            own = self.best()
            rates = ", ".join(f"{row.width}: 2^{row.log2_rate:.1f}" for row in own[own["parametrisation"] == name].itertuples())
            fit = "" if single else f"; it {_moves(self.drift(name))} a doubling, features move as width^{self.growth(name):.2f}"
            lines.append(f"{_said(name)}: best learning rate at width {rates}{fit}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels, seen = [], self.table["loss"][np.isfinite(self.table["loss"])]
        room = 0.05 * float(np.ptp(seen)) if len(seen) else 0.0
        losses = (float(seen.min()) - room, float(seen.max()) + room) if room else None  # one range, so that panels compare
        for name, own in self.table.groupby("parametrisation", sort=False):
            ended = own[np.isfinite(own["loss"])].groupby("width")
            lines = [line_of_means(one, "learning_rate", "loss", f"width {width}") for width, one in ended]
            panels.append(Panel(lines, "learning rate", "loss (nats)", f"Loss, {_said(name)}", x_log=True, y_range=losses))
        rates, moved = [], []
        for name, own in self.best().groupby("parametrisation", sort=False):
            rates.append(Line(own["width"].to_numpy(float), 2.0 ** own["log2_rate"].to_numpy(), _said(name), markers=True))
        least = self.table[self.table["learning_rate"] == self.table["learning_rate"].min()]
        for name, own in least.groupby("parametrisation", sort=False):
            moved.append(line_of_means(own[np.isfinite(own["moved"])], "width", "moved", _said(name)))
        panels.append(Panel(rates, "width", "best learning rate", "Where it is best", x_log=True, y_log=True))
        panels.append(Panel(moved, "width", "relative change of features", "Coordinate check", x_log=True, y_log=True))
        return Figure(self.title, panels, alt=f"Losses by learning rate and width. {self.summary()}")


def _said(parametrisation: object) -> str:
    """The field's own spelling."""
    return {"mup": "muP", "ntk": "NTK"}.get(str(parametrisation), str(parametrisation).replace("_", "-"))


def _moves(drift: float) -> str:
    if abs(drift) < 0.005:
        return "moves by less than 0.01 octaves"
    return f"{'falls' if drift > 0 else 'rises'} by {abs(drift):.2f} octaves"


def _vertex(losses: pd.Series) -> float:
    x, y = np.log2(losses.index.to_numpy(float)), losses.to_numpy()
    place = int(np.nanargmin(y))
    if 0 < place < len(y) - 1 and np.isfinite(y[place - 1 : place + 2]).all():
        curve, slope, _ = np.polyfit(x[place - 1 : place + 2], y[place - 1 : place + 2], 2)
        if curve > 0:
            return float(np.clip(-slope / (2 * curve), x[place - 1], x[place + 1]))
    return float(x[place])
