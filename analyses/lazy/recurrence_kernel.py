"""Linear recurrences trained beside what the formula of their tangent kernel predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.intervals import line_of_means
from ...probe.results.result import Result
from ..infinite_width.diagonal_recurrence import DiagonalRecurrence, infinite_diagonal_recurrence_ntk
from ..kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.measures import relative_change
from .centred_training import train_centred
from .lazy_or_rich import Data


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
            measured = line_of_means(own, "step", column, f"{channels} channels", markers=False)
            predicted = own.groupby("step")[f"predicted_{column}"].mean()
            lines += [measured, Line(measured.x, predicted.to_numpy(), f"predicted, {channels} channels", dashed=True)]
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
        return Panel(lines, "channels", "relative", "Kernel", x_log=True, y_log=True)


def recurrence_kernel(
    data: Data,
    channels: Sequence[int],
    seeds: Sequence[int],
    *,
    times: Sequence[int],
    decays: tuple[float, float] = (-0.9, 0.9),
    share_of_largest_step: float = 0.2,
) -> RecurrenceKernel:
    """Train recurrences of several widths on sequences, and predict each by its kernel at the start.

    data: sequences [N, T] and targets [N, 1]. times: steps at which errors are measured. decays: between which lambda is drawn.
    share_of_largest_step: of the learning rate at which descent with the kernel at the start would stop converging.
    """
    limit = infinite_diagonal_recurrence_ntk(*decays, data.train, nodes=max(64, data.train.shape[1]))
    tables = []
    for count in channels:
        for seed in seeds:
            model = DiagonalRecurrence(count, torch.Generator().manual_seed(seed), *decays)
            tables.append(_one(model, data, times, limit, share_of_largest_step).assign(channels=count, seed=seed))
    table = pd.concat(tables, ignore_index=True)[list(RecurrenceKernel.columns)]
    return RecurrenceKernel(table, {"samples": len(data.train), "tokens": data.train.shape[1], "decays": list(decays)})


def _one(model: DiagonalRecurrence, data: Data, times: Sequence[int], limit: Tensor, share: float) -> pd.DataFrame:
    before, cross = model.kernel(data.train), model.kernel(data.test, data.train)
    formula = relative_change(before, empirical_ntk(model, data.train))
    step = share * largest_stable_step(before)
    predicted = gradient_descent(before, data.targets, torch.tensor([float(time) for time in times]), step, cross)
    run = train_centred(model, data.train, data.targets, data.test, scale=1.0, step=step, times=times)
    after = model.kernel(data.train)
    formula = max(formula, relative_change(after, empirical_ntk(model, data.train)))
    errors = {
        "train_error": (run.train, data.targets),
        "predicted_train_error": (predicted.train, data.targets),
        "test_error": (run.test, data.test_targets),
        "predicted_test_error": (predicted.test, data.test_targets),
    }
    columns = {name: (values - targets).square().mean((1, 2)).numpy() for name, (values, targets) in errors.items()}
    whole = {
        "formula_error": formula,
        "from_the_limit": relative_change(before, limit),
        "kernel_change": relative_change(after, before),
    }
    return pd.DataFrame({"step": list(times), **columns, **whole})
