"""Motion of the tangent kernel: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class TangentMotion(Result, kind="tangent_motion"):
    """The tangent kernel at several steps of training beside that of the first, by groups of parameters."""

    title: ClassVar[str] = "Motion of the tangent kernel"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "group": 'group of parameters, such as a layer; "all parameters" is their sum',
        "step": "training step",
        "share": "trace of the group's kernel / trace of the whole",
        "change": "|K - K_0|_F / |K_0|_F, K_0 the kernel at the first step",
        "distance": "1 - cosine between K and K_0, which a mere factor leaves at 0",
        "velocity": "distance from the kernel at the step before, a training step",
        "alignment": "centred alignment of the kernel with the targets' own",
        "effective_rank": "trace^2 / |K|_F^2",
        "condition": "largest eigenvalue / least, infinite for a singular kernel",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("model", "group")

    def summary(self) -> str:
        ends = self.table[self.table["step"] > self.table["step"].min()].groupby(["model", "group"], sort=False).last()
        return "\n".join(
            f"{model}, {group}: by step {row.step:.0f} the kernel changed by {row.change:.3g} of itself and turned by "
            f"{row.distance:.3g}; alignment with the targets {row.alignment:.3f}, share of the trace {row.share:.2f}"
            for (model, group), row in ends.iterrows()
        )

    def specification(self) -> Figure:
        wanted = (
            ("change", "relative change", "Change since the first step"),
            ("alignment", "alignment with the targets", "Alignment"),
            ("share", "share of the trace", "Who holds the kernel"),
        )
        single = self.table["model"].nunique() == 1
        panels = []
        for column, label, title in wanted:
            lines = [
                Line(own["step"].to_numpy(), own[column].to_numpy(), str(group) if single else f"{model}, {group}", markers=True)
                for (model, group), own in self.table.groupby(["model", "group"], sort=False)
            ]
            panels.append(Panel(lines, "training step", label, title))
        return Figure(self.title, panels, alt=f"How the tangent kernel moves in training. {self.summary()}")
