"""Balanced truncation: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

ALL = "all"


@dataclass(frozen=True)
class BalancedTruncation(Result, kind="balanced_truncation"):
    """The loss of a model whose layers are truncated to each order, one layer at a time and all together."""

    title: ClassVar[str] = "Balanced truncation"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "truncated": "the layer whose systems are truncated, or all",
        "order": "states that each system keeps",
        "states": "states that each has",
        "loss": "loss of the task with the truncated layers",
        "full": "loss of the model as it is",
        "error": "largest gain, over systems and angles, of the full less the truncated response; nan for all",
        "bound": "largest bound of it: twice the sum of the Hankel singular values left out; nan for all",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "truncated", "order")

    def summary(self) -> str:
        lines = []
        for (model, truncated), own in self.table.groupby(["model", "truncated"], sort=False):
            least = own.loc[own["order"].idxmin()]
            close = own[own["loss"] <= own["full"] + 0.01 * own["full"].abs() + 1e-9]
            said = f"{close['order'].min()} states a system lose at most 1% of it" if len(close) else "no order here is within 1%"
            lines.append(
                f"{model}, {_words(str(truncated))}: loss {least['full']:.4f} with {least['states']} states, {least['loss']:.4f} "
                f"with {least['order']}; {said}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The loss by order, with that of the whole model, and the error of the response beside its bound."""
        losses, errors = [], []
        for (model, truncated), own in self.table.groupby(["model", "truncated"], sort=False):
            name, order = f"{model}, {_words(str(truncated))}", own["order"].to_numpy()
            losses.append(Line(order, own["loss"].to_numpy(), name, markers=True))
            if truncated == ALL:
                losses.append(Line(order, own["full"].to_numpy(), f"{model}, whole", dashed=True, beside=name))
            elif (own["error"] > 0).all():
                errors.append(Line(order, own["error"].to_numpy(), name, markers=True))
                errors.append(Line(order, own["bound"].to_numpy(), f"{name}, bound", dashed=True, beside=name))
        panels = [Panel(losses, "states kept of each system", "loss", "Task")]
        if errors:
            panels.append(Panel(errors, "states kept of each system", "gain", "Response left out", y_log=True))
        return Figure(self.title, panels, alt=f"Loss of truncated models by order. {self.summary()}")


def _words(truncated: str) -> str:
    return "all layers" if truncated == ALL else f"layer {truncated}"
