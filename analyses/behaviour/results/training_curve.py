"""Training and held-out cost: tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Bars, Figure, Line, Panel
from ....probe.results.result import Result

if TYPE_CHECKING:
    from ....probe.runs.checkpoint_file import Progress

BITS = 1 / math.log(2)


@dataclass(frozen=True)
class TrainingCurve(Result, kind="training_curve"):
    """Training loss by step, in bits a token; of a task of real numbers, the mean squared error."""

    title: ClassVar[str] = "Training"
    columns: ClassVar[dict[str, str]] = {"model": "name of the model", "step": "training step", "loss": 'in `about["unit"]`'}

    @classmethod
    def of(cls, histories: Mapping[str, Progress], *, real: bool = False) -> TrainingCurve:
        """Make the curves of histories, name -> losses in nats. real: whether the task is of real numbers."""
        scale, unit = (1.0, "mean squared error") if real else (BITS, "bits a token")
        tables = [
            pd.DataFrame({"model": name, "step": np.arange(1, len(h.losses) + 1), "loss": np.asarray(h.losses) * scale})
            for name, h in histories.items()
        ]
        return cls(pd.concat(tables, ignore_index=True), {"unit": unit})

    @property
    def unit(self) -> str:
        """The unit in which the loss is given."""
        return str(self.about.get("unit", "bits a token"))

    def summary(self) -> str:
        last = self.table.groupby("model", sort=False).tail(20).groupby("model", sort=False)["loss"].mean()
        return "\n".join(f"{model}: {loss:.4f} {self.unit} over the last 20 steps" for model, loss in last.items())

    def specification(self) -> Figure:
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            smooth = own["loss"].ewm(span=20).mean()
            lines.append(Line(own["step"].to_numpy(), smooth.to_numpy(), str(model)))
        panel = Panel(lines, "training step", f"{self.unit} (moving average)")
        return Figure(self.title, [panel], columns=1, alt=f"Training loss. {self.summary()}")


@dataclass(frozen=True)
class HeldOutCost(Result, kind="held_out_cost"):
    """Bits a token on held-out data."""

    title: ClassVar[str] = "Held-out cost"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "bits": "mean bits a token that has a target, those of the first tokens included",
        "low": "lower end of its 95% interval over sources",
        "high": "upper end",
        "parameters": "number of parameters",
    }

    def summary(self) -> str:
        return "\n".join(
            f"{row.model}: {row.bits:.3f} bits a token [{row.low:.3f}, {row.high:.3f}], {row.parameters:,} parameters"
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        own = self.table
        values, low, high = (own[name].to_numpy() for name in ("bits", "low", "high"))
        panel = Panel([Bars(list(own["model"]), values, "", low, high)], "", "bits a token")
        return Figure(self.title, [panel], columns=1, alt=f"Held-out cost. {self.summary()}")
