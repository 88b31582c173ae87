"""Causal check: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Intervals, Line, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook

TOGETHER = 2  # directions that are drawn on one pair of axes


@dataclass(frozen=True)
class CausalCheck(Result, kind="causal_check"):
    """What changing an activation along a direction changes at the output, beside what random directions change."""

    title: ClassVar[str] = "Causal check"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "direction": "the concept, or the control",
        "hook": "the activation that is changed",
        "operation": "ablate: the component is taken out; reflect: turned around; steer: added to",
        "strength": "of steering, in units of the direction's scale; nan for the other operations",
        "effect": "mean change of what is measured, on the same inputs",
        "low": "lower end of its 95% interval over groups",
        "high": "upper end",
        "null": "median change by random directions of the same length",
        "null_low": "their 2.5% quantile",
        "null_high": "their 97.5% quantile",
        "p_value": "share of them whose change is as large in size, the direction itself counted in",
        "q_value": "smallest false discovery rate over the table (Benjamini-Hochberg) at which this is a discovery",
        "accuracy": "held-out score of the probe that the direction comes from; nan where none was given",
        "samples": "positions that are measured",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "direction", "hook", "operation")

    def summary(self) -> str:
        """Give each direction and operation in a sentence that says whether it does more than random directions."""
        lines, measured = [], self._measured()
        for row in _strongest(self.table).itertuples():
            how = f"{row.operation} x {row.strength:g}" if row.operation == "steer" else row.operation
            said = "more than" if row.p_value <= 0.05 else "no more than"
            read = "" if np.isnan(row.accuracy) else f"; a probe reads it at {row.accuracy:.3f}"
            lines.append(
                f"{row.model}, {row.direction} at {short_hook(row.hook)}, {how}: {measured} {row.effect:+.3f} [{row.low:+.3f}, "
                f"{row.high:+.3f}], {said} random directions ({row.null_low:+.3f} to {row.null_high:+.3f}, p = {row.p_value:.3f})"
                + read
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Panels for the dose and effect of steering, one for all directions or, of many, one for each; and for what takes the
        directions out, by model where there are many.
        """
        measured = self._measured()
        steered = self._by_place("steer")
        panels = []
        if 0 < len(steered) <= TOGETHER:
            named = [(_named(*where), own) for where, own in steered]
            lines = [line for name, own in named for line in _dose(own, name, f"random beside {name}", name)]
            panels.append(Panel(lines, "strength", measured, "Dose and effect"))
        elif steered:
            panels += [
                Panel(_dose(own, "direction", "random"), "strength", measured, _titled(*where[:2])) for where, own in steered
            ]
        taken = self.table[self.table["operation"] != "steer"]
        parts = [("Without it", taken)] if len(taken) <= 2 * TOGETHER else list(taken.groupby("model", sort=False))
        panels += [Panel(_taken_out(own, len(parts) > 1), measured, "", str(title)) for title, own in parts if len(own)]
        caption = f"{self.about.get('randoms', 0)} random directions; interval: 95%, bootstrap over groups."
        return Figure(self.title, panels, alt=f"Effect of directions beside random ones. {self.summary()}", caption=caption)

    def _measured(self) -> str:
        """What the numbers are."""
        return f"change of {str(self.about.get('measure', 'measure')).replace('_', ' ')}"

    def _by_place(self, operation: str) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
        own = self.table[self.table["operation"] == operation]
        return [(tuple(map(str, where)), rows) for where, rows in own.groupby(["model", "direction", "hook"], sort=False)]  # type: ignore[misc]


def _named(model: str, direction: str, hook: str) -> str:
    return f"{_titled(model, direction)}, {short_hook(hook)}"


def _titled(model: str, direction: str) -> str:
    return f"{model}: {direction.replace('_', ' ')}"


def _dose(own: pd.DataFrame, label: str, null_label: str, beside: str = "") -> list[Line]:
    """A direction's effect by strength, and that of random ones, which have the colour of the line named `beside`."""
    own = own.sort_values("strength")
    x, y, low, high = (own[column].to_numpy() for column in ("strength", "effect", "low", "high"))
    null, null_low, null_high = (own[column].to_numpy() for column in ("null", "null_low", "null_high"))
    random = Line(x, null, null_label, null_low, null_high, dashed=True, beside=beside)
    return [Line(x, y, label, low, high, markers=True), random]


def _taken_out(own: pd.DataFrame, of_one_model: bool) -> list[Intervals]:
    """What operations other than steering change, and what random directions do."""
    done = own["operation"] + " " + own["direction"].str.replace("_", " ") + ", " + own["hook"].map(short_hook)
    names = (done if of_one_model else own["model"] + ": " + done).tolist()
    value, low, high = (own[column].to_numpy() for column in ("effect", "low", "high"))
    null, null_low, null_high = (own[column].to_numpy() for column in ("null", "null_low", "null_high"))
    return [Intervals(names, value, "direction", low, high), Intervals(names, null, "random", null_low, null_high)]


def _strongest(table: pd.DataFrame) -> pd.DataFrame:
    """All rows but of steering those of the largest strength of each direction."""
    steered = table[table["operation"] == "steer"]
    most = steered.groupby(["model", "direction", "hook"], sort=False)["strength"].transform("max")
    return pd.concat([table[table["operation"] != "steer"], steered[steered["strength"] == most]])
