"""Patching sweep: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Heatmap, Panel
from ....probe.results.result import Result
from ....probe.statistics.nulls import NULL_COLUMNS
from ....probe.statistics.scores import short_hook

EVERY_HEAD = -1


@dataclass(frozen=True)
class PatchingSweep(Result, kind="patching_sweep"):
    """What the output gains where an activation is that of another run, by place, beside random changes of the same size."""

    title: ClassVar[str] = "Patching"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "hook": "the activation that is patched",
        "layer": "of the hook; -1 for the model's own",
        "site": "short name of the hook",
        "position": "token position that is patched",
        "head": "head that is patched; -1 for all together",
        "method": "patch: the run with the patch; attribute: to first order, from the gradient",
        "effect": "mean change of the metric by the patch, over pairs of sequences",
        "low": "lower end of its 95% interval over groups",
        "high": "upper end",
        "recovered": "effect as a share of what the metric of the source is above that of the target",
        **NULL_COLUMNS,
        "q_value": "smallest false discovery rate over the table (Benjamini-Yekutieli: places share their inputs) of a discovery",
        "samples": "pairs of sequences",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "method", "site", "layer", "position", "head")

    def summary(self) -> str:
        """How many places do more than random changes, and which does most."""
        lines = []
        for (model, method), own in self.table.groupby(["model", "method"], sort=False):
            found = own[own["q_value"] <= 0.05]
            line = f"{model}, {method}: {len(found)} of {len(own)} places change the metric more than random changes (q <= 0.05)"
            if len(found):
                most = found.loc[found["effect"].abs().idxmax()]
                line += (
                    f"; most at {short_hook(most['hook'])}, position {most['position']}: {most['effect']:+.3f} "
                    f"[{most['low']:+.3f}, {most['high']:+.3f}], {most['recovered']:.0%} of what the source has more"
                )
            lines.append(line)
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One panel a site (and head): the effect by layer and position, on one scale."""
        reach = float(np.nanmax(self.table["effect"].abs())) or 1.0
        panels = []
        for (model, method, site, head), own in self.table.groupby(["model", "method", "site", "head"], sort=False):
            cells = own.pivot(index="layer", columns="position", values="effect")
            title = f"{model}, {method}: {site}" + ("" if head == EVERY_HEAD else f", head {head}")
            rows, columns = (list(map(str, names)) for names in (cells.index, cells.columns))
            mark = Heatmap(cells.to_numpy(), rows, columns, diverging=True, limits=(-reach, reach))
            panels.append(Panel([mark], "token position", "layer", title))
        caption = f"Change of the metric; {self.about.get('randoms', 0)} random changes of the same size are the null."
        return Figure(self.title, panels, alt=f"Effect of patches by place. {self.summary()}", caption=caption)
