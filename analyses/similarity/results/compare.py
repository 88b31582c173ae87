"""Similarity of representations: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class RepresentationSimilarity(Result, kind="representation_similarity"):
    """The similarity of activations by pair of places."""

    title: ClassVar[str] = "Similarity of representations"
    columns: ClassVar[dict[str, str]] = {
        "measure": "kind of the measure",
        "first": "place in the first model",
        "second": "place in the second model",
        "similarity": "of the two sets of activations",
        "null": "mean similarity with the groups of the second side shuffled",
        "p": "share of shuffles at least as similar, the observed one counted among them",
        "samples": "samples compared",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("measure", "first", "second")

    def summary(self) -> str:
        above = self.table[self.table["p"] <= 0.05]
        top = self.table.sort_values("similarity").iloc[-1]
        where = f"{top['first']}, {top['second']}; null {top['null']:.3f}"
        return (
            f"{len(above)} of {len(self.table)} pairs are more alike than shuffled ones (p <= 0.05 each, not corrected); "
            f"the range is {self.table['similarity'].min():.3f} to {top['similarity']:.3f} ({where})"
        )

    def specification(self) -> Figure:
        panels = []
        for measure, own in self.table.groupby("measure", sort=False):
            rows, columns = own["first"].drop_duplicates().tolist(), own["second"].drop_duplicates().tolist()
            values = own.pivot(index="first", columns="second", values="similarity").loc[rows, columns].to_numpy()
            panels.append(Panel([Heatmap(values, rows, columns, "similarity")], "second", "first", str(measure)))
        return Figure(self.title, panels, alt=f"Similarity of each pair of places. {self.summary()}")
