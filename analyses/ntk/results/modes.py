"""Modes of the tangent kernel: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import SHARE, Figure, Heatmap, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class KernelModes(Result, kind="kernel_modes"):
    """How the leading eigenvectors of a kernel share out among the modes of a task."""

    title: ClassVar[str] = "Modes of the tangent kernel"
    columns: ClassVar[dict[str, str]] = {
        "mode": "name of a mode: a space of functions of the samples",
        "dimension": "of that space on these samples",
        "index": "rank of the eigenvector, from 1",
        "eigenvalue": "of the kernel, in squared gradient units",
        "share": "squared length of the eigenvector's projection on the mode",
        "learned": "share of the mode in the eigenvectors up to this one, sum of `share` / dimension",
    }

    def summary(self) -> str:
        best = self.table.loc[self.table.groupby("index")["share"].idxmax()]
        said = (f"{row.index} {row.mode} ({row.share:.2f})" for row in best.head(8).itertuples(index=False))
        return f"the mode that holds most of each leading eigenvector: {', '.join(said)}"

    def specification(self) -> Figure:
        shares = self.table.pivot(index="mode", columns="index", values="share")
        shares = shares.reindex(self.table["mode"].unique())
        ranks = [str(rank) for rank in shares.columns]
        lines = [
            Line(own["index"].to_numpy(), own["learned"].to_numpy(), str(mode))
            for mode, own in self.table.groupby("mode", sort=False)
        ]
        panels = [
            Panel(
                [Heatmap(shares.to_numpy(), [str(name) for name in shares.index], ranks, "share")],
                "eigenvector",
                "mode",
                "Eigenvectors",
            ),
            Panel(lines, "leading eigenvectors", "share of the mode", "Modes", y_range=(0.0, 1.02), bounds=SHARE),
        ]
        return Figure(self.title, panels, alt=f"Share of each mode in the leading eigenvectors. {self.summary()}")
