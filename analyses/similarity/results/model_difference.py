"""How far a model has moved: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class ModelDifference(Result, kind="model_difference"):
    """The distance of two models' activations on the same tokens, |a - b| / |a| a sequence, and of their answers.

    "unlike" is the same distance between different sequences of the first model: what is as far apart as two texts.
    """

    title: ClassVar[str] = "How far a model has moved"
    columns: ClassVar[dict[str, str]] = {
        "hook": 'activation that is compared; "output" for KL(first || second) in nats',
        "layer": "block; -1 for the output",
        "site": "last word of the hook's name",
        "difference": "mean over sequences of |a - b| / |a|; of the output the KL in nats",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "unlike": "the same between one sequence of the first model and the next; nan for one sequence",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("site", "layer")

    def summary(self) -> str:
        output = self.table[self.table["hook"] == "output"].iloc[0]
        lines = [f"the answers are {output.difference:.3g} nats apart [{output.low:.3g}, {output.high:.3g}]"]
        for site, own in self.table[self.table["hook"] != "output"].groupby("site", sort=False):
            most = own.loc[own["difference"].idxmax()]
            lines.append(f"{site}: most in layer {most.layer}, {most.difference:.3g} of its size (two texts: {most.unlike:.3g})")
        return "\n".join(lines)

    def specification(self) -> Figure:
        marks = []
        for site, own in self.table[self.table["hook"] != "output"].groupby("site", sort=False):
            x, y, low, high = (own[name].to_numpy() for name in ("layer", "difference", "low", "high"))
            marks += [
                Line(x, y, str(site), low, high, markers=True),
                Line(x, own["unlike"].to_numpy(), f"{site}, two texts", dashed=True, beside=str(site)),
            ]
        return Figure(
            self.title, [Panel(marks, "layer", "relative difference")], columns=1, alt=f"Drift by layer. {self.summary()}"
        )
