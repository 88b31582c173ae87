"""What a small experiment on a paper's equations found: numbers, and curves to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import ClassVar

import numpy as np
import pandas as pd

from ...probe.results.figure import Figure, Intervals, Line, Panel
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from .claim import Measurement, Relation


@dataclass(frozen=True)
class Axes:
    """The axes of one panel of curves."""

    x_label: str
    y_label: str
    x_log: bool = False
    y_log: bool = False


@dataclass
class Findings:
    """numbers: what was measured -> its value. curves: (panel, series) -> x and y; axes: of each panel."""

    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[tuple[str, str], tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    axes: dict[str, Axes] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers(Result, kind="numbers"):
    """Named numbers."""

    title: ClassVar[str] = "What was measured"
    columns: ClassVar[dict[str, str]] = {"what": "what was measured", "value": "the number"}

    def at(self, what: str) -> float:
        """A number by its name. Raises KeyError with the names there are."""
        found = self.table.loc[self.table["what"] == what, "value"]
        if found.empty:
            raise KeyError(f"{what!r} was not measured; measured were {', '.join(self.table['what'])}")
        return float(found.iloc[0])

    def summary(self) -> str:
        return "\n".join(f"{row.what}: {row.value:.4g}" for row in self.table.itertuples())

    def specification(self) -> Figure:
        values = self.table["value"].to_numpy()
        names = [f"{row.what} = {row.value:.4g}" for row in self.table.itertuples()]
        logarithmic = bool((values >= 0).all() and values.any())  # a zero then has its name, and no dot
        panel = Panel([Intervals(names, values)], "value", "", x_log=logarithmic)
        return Figure(self.title, [panel], columns=1, alt=self.summary())


@dataclass(frozen=True)
class Curves(Result, kind="curves"):
    """Curves in panels; `about["axes"]` has the axes of each."""

    title: ClassVar[str] = "Curves"
    columns: ClassVar[dict[str, str]] = {"panel": "title of the panel", "series": "the curve", "x": "", "y": ""}

    def summary(self) -> str:
        ends = self.table.groupby(["panel", "series"], sort=False).last()
        return "\n".join(f"{panel}: {series} ends at {row.y:.4g} for {row.x:g}" for (panel, series), row in ends.iterrows())

    def specification(self) -> Figure:
        panels = []
        for title, own in self.table.groupby("panel", sort=False):
            lines = [Line(one["x"].to_numpy(), one["y"].to_numpy(), str(name)) for name, one in own.groupby("series", sort=False)]
            axes = Axes(**self.about["axes"][title])
            panels.append(Panel(lines, axes.x_label, axes.y_label, str(title), axes.x_log, axes.y_log))
        if len(panels) == 1:
            return Figure(panels[0].title.capitalize(), [replace(panels[0], title="")], columns=1, alt=self.summary())
        return Figure(self.title, panels, alt=self.summary())


@dataclass(frozen=True)
class PaperStudy(Study, kind="paper"):
    """The experiment of one paper of the atlas: `experiment(seed)` of its module, which returns Findings."""

    paper: str = "P001"

    @property
    def run_name(self) -> str:
        return f"{self.paper.lower()}-seed{self.seed}"

    def execute(self, run: Run) -> None:
        experiment: Callable[[int], Findings] = import_module(f".{self.paper.lower()}", __package__).experiment
        made: list[Findings] = []

        def findings() -> Findings:
            if not made:
                made.append(experiment(self.seed))
            return made[0]

        run.compute("numbers", lambda: numbers_of(findings().numbers))
        if "curves" in run.result_names or findings().curves:
            run.compute("curves", lambda: curves_of(findings()))


def numbers_of(numbers: Mapping[str, float]) -> Numbers:
    return Numbers(pd.DataFrame({"what": list(numbers), "value": list(numbers.values())}))


def curves_of(found: Findings) -> Curves:
    parts = [
        pd.DataFrame({"panel": panel, "series": series, "x": np.asarray(x, float), "y": np.asarray(y, float)})
        for (panel, series), (x, y) in found.curves.items()
    ]
    return Curves(pd.concat(parts, ignore_index=True), {"axes": {panel: asdict(axes) for panel, axes in found.axes.items()}})


def measured(what: str, relation: Relation, expected: float, tolerance: float = 0.0) -> Measurement:
    """A measurement that a PaperStudy's numbers hold under the same name."""

    def read(run: Run) -> float:
        numbers = run.result("numbers")
        assert isinstance(numbers, Numbers)
        return numbers.at(what)

    return Measurement(what, expected, relation, read, tolerance)
