"""Erasure: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Intervals, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook


@dataclass(frozen=True)
class ErasureEffect(Result, kind="erasure_effect"):
    """What fresh probes read after an erasure in the model, and how its output changes, beside a random projection."""

    title: ClassVar[str] = "Erasure"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "label": "the concept that is erased",
        "eraser": "what erases it; 'nothing' for the model as it is; 'random' for random projections of the rank of the eraser",
        "rank": "dimensions that are taken out; of an eraser that is told the label, along which it moves activations",
        "erased": "the activation that it is taken out of",
        "moved": "mean squared distance that activations are moved, as a share of their variance",
        "estimator": "the fresh probes",
        "hook": "the activation that they read, in the model with the erasure",
        "score": "their held-out score",
        "low": "lower end of its 95% interval",
        "high": "upper end",
        "majority": "score of always answering the most frequent class",
        "change": "mean change of what is measured at the output, on the same inputs",
        "change_low": "lower end of its 95% interval",
        "change_high": "upper end",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "label", "eraser", "estimator", "hook")

    def summary(self) -> str:
        """Give what is read at the erased activation, and the change at the output, of each eraser."""
        lines = []
        here = self.table[self.table["hook"] == self.table["erased"]]
        for (model, label, eraser), own in here.groupby(["model", "label", "eraser"], sort=False):
            first = own.iloc[0]
            read = ", ".join(f"{row.estimator} {row.score:.3f}" for row in own.itertuples())
            change = f"{first['change']:+.4f} [{first['change_low']:+.4f}, {first['change_high']:+.4f}]"
            lines.append(
                f"{model}, {label} at {short_hook(first['erased'])}, {eraser} (rank {first['rank']}): {read} (majority "
                f"{first['majority']:.3f}); change of the output {change}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For each label one panel of what probes read, and one of what the output loses."""
        panels = []
        for (model, label), own in self.table.groupby(["model", "label"], sort=False):
            title = f"{model}: {str(label).replace('_', ' ')}"
            marks = []
            for (estimator, hook), rows in own.groupby(["estimator", "hook"], sort=False):
                values, low, high = (rows[name].to_numpy() for name in ("score", "low", "high"))
                said = f"{str(estimator).replace('_', ' ')}, {short_hook(str(hook))}"
                marks.append(Intervals(rows["eraser"].tolist(), values, said, low, high))
            level = (float(own["majority"].mean()), "majority")
            panels.append(Panel(marks, "held-out score of a fresh probe", "", title, level=level))
            once = own.drop_duplicates("eraser")
            values, low, high = (once[name].to_numpy() for name in ("change", "change_low", "change_high"))
            measured = str(self.about.get("measure", "measure")).replace("_", " ")
            panels.append(Panel([Intervals(once["eraser"].tolist(), values, "", low, high)], f"change of {measured}", "", title))
        return Figure(self.title, panels, alt=f"What is left after erasure. {self.summary()}")
