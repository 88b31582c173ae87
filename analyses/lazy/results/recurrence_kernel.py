"""Tangent kernel of a linear recurrence: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.intervals import line_of_means
from ....probe.results.result import Result


@dataclass(frozen=True)
class RecurrenceKernel(Result, kind="recurrence_kernel"):
    """Diagonal linear recurrences of several widths in training, and the descent that their kernel at the start predicts."""

    title: ClassVar[str] = "Tangent kernel of a linear recurrence"
    columns: ClassVar[dict[str, str]] = {
        "channels": "channels of the recurrence",
        "seed": "draw of its parameters",
        "step": "training step",
        "train_error": "mean squared error on the training set",
        "predicted_train_error": "the same, of descent with the kernel at the start",
        "test_error": "mean squared error on the test set",
        "predicted_test_error": "the same, of descent with the kernel at the start",
        "formula_error": "relative difference of the formula from the kernel of the gradients, the larger of before and after",
        "from_the_limit": "relative difference of the kernel at the start from its limit of many channels",
        "kernel_change": "|K - K_0|_F / |K_0|_F at the last step",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("channels", "seed")

    def summary(self) -> str:
        lines = [f"formula against gradients: {self.table['formula_error'].max():.1e} at most, relative"]
        last = self.table[self.table["step"] == self.table["step"].max()]
        for channels, own in last.groupby("channels"):
            mean = own.mean(numeric_only=True)
            lines.append(
                f"{channels} channels: test error {mean.test_error:.4g}, predicted {mean.predicted_test_error:.4g}; the kernel "
                f"is {mean.from_the_limit:.2g} from its limit and changed by {mean.kernel_change:.2g}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        return Figure(
            self.title,
            [self._curves("train_error", "Training"), self._curves("test_error", "Held out"), self._widths()],
            alt=f"Training of linear recurrences beside their kernel's prediction. {self.summary()}",
        )

    def _curves(self, column: str, title: str) -> Panel:
        lines = []
        for channels in sorted({self.table["channels"].min(), self.table["channels"].max()}):
            own = self.table[self.table["channels"] == channels]
            label, predicted = f"{channels} channels", own.groupby("step")[f"predicted_{column}"].mean()
            measured = line_of_means(own, "step", column, label, markers=False)
            lines += [measured, Line(measured.x, predicted.to_numpy(), f"predicted, {label}", dashed=True, beside=label)]
        return Panel(lines, "training step", "mean squared error", title, y_log=True)

    def _widths(self) -> Panel:
        ends = self.table[self.table["step"] == self.table["step"].max()]
        lines = [
            line_of_means(ends, "channels", "from_the_limit", "from the limit"),
            line_of_means(ends, "channels", "kernel_change", "change in training"),
        ]
        x = lines[0].x
        if len(x) > 1:
            lines.append(Line(x, lines[0].y[0] * (x / x[0]) ** -0.5, "channels^-0.5", dashed=True))
        return Panel(lines, "channels", "relative difference", "Kernel", x_log=True, y_log=True)
