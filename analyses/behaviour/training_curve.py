"""The loss of each training step, and what the trained model costs on held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from ...probe.results.figure import Bars, Figure, Line, Panel
from ...probe.results.result import Result
from ...probe.runs.checkpoint import Progress
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import IGNORED, Batch

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

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


def held_out_cost(models: Mapping[str, HookedModel], batch: Batch, *, seed: int) -> HeldOutCost:
    """Cross-entropy on a batch of held-out sequences, over the positions that have a target; the interval resamples sources.

    Raises ValueError for targets that are real numbers, and for a sequence without a target.
    """
    if batch.targets.is_floating_point():
        raise ValueError("the targets are real numbers, which have no cross-entropy; measure error_by_position")
    counted = batch.targets != IGNORED
    if not bool(counted.any(1).all()):
        raise ValueError(f"{int((~counted.any(1)).sum())} of {len(counted)} sequences have no target; leave them out")
    rows = []
    for name, model in models.items():
        with torch.no_grad():
            logits = model(batch.tokens).cpu()
            cost = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none")
        each = ((cost.view_as(batch.targets) * counted).sum(1) / counted.sum(1) * BITS).double().numpy()
        low, high = group_bootstrap(each, batch.groups.numpy(), 1000, seed)
        rows.append((name, float(each.mean()), low, high, sum(p.numel() for p in model.parameters())))
    return HeldOutCost(pd.DataFrame(rows, columns=list(HeldOutCost.columns)), {"tokens": int(counted.sum())})
