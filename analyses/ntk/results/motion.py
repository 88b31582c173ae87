"""Motion of the tangent kernel: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

WHOLE = "all parameters"  # the group of all of them, whose share of the trace is 1


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
        models = list(self.table.groupby("model", sort=False))
        panels = []
        for column, label, title in wanted:
            for model, own in models:
                groups = own[own["group"] != WHOLE] if column == "share" else own
                lines = [
                    Line(rows["step"].to_numpy(), rows[column].to_numpy(), str(group), markers=True)
                    for group, rows in groups.groupby("group", sort=False)
                ]
                if lines:
                    panels.append(Panel(lines, "training step", label, title if len(models) == 1 else f"{title}: {model}"))
        return Figure(self.title, panels, alt=f"How the tangent kernel moves in training. {self.summary()}")
