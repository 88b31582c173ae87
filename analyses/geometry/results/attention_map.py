"""What each token looks at: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result

WHOLE, ADDITIVE, ERASURE = "attention", "additive", "erasure"


@dataclass(frozen=True)
class AttentionMap(Result, kind="attention_map"):
    """The weight of each source in each token's read-out, in one head of a layer, over one sequence."""

    title: ClassVar[str] = "What each token looks at"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "part": "attention (all of it), additive or erasure",
        "query": "position of the token that reads",
        "source": "position of the token that is read",
        "weight": "of the source's value in the read-out; a softmax weight is from 0 to 1, an effective one may be negative",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "part")

    def matrix(self, part: str = WHOLE) -> np.ndarray:
        """The weights [T, T] of a part, 0 after the query. Raises UnknownNameError for a part that is not told."""
        own = self.select(part=part).table
        found = np.zeros((self.about["tokens"], self.about["tokens"]))
        found[own["query"], own["source"]] = own["weight"]
        return found

    @property
    def reach(self) -> np.ndarray:
        """The mean distance in tokens [T] of what each token looks at; nan where it looks at nothing."""
        weights = np.abs(self.matrix())
        distance = np.arange(len(weights))[:, None] - np.arange(len(weights))
        total = weights.sum(1)
        nothing = np.full(len(weights), np.nan)
        found: np.ndarray = np.divide((weights * distance).sum(1), total, out=nothing, where=total > 0)
        return found

    def summary(self) -> str:
        """How far back the last tokens look, and how much of it is erasure."""
        reach = self.reach
        later = reach[len(reach) // 2 :]
        parts = [part for part in (ADDITIVE, ERASURE) if part in set(self.table["part"])]
        sizes = [f"{part} {np.abs(self.matrix(part)).sum() / max(np.abs(self.matrix()).sum(), 1e-300):.2f}" for part in parts]
        beside = f"; as shares of all weights, {' and '.join(sizes)}" if sizes else ""
        mean = "nothing" if np.isnan(later).all() else f"{np.nanmean(later):.2f} tokens back"
        return f"{self.about['where']} ({self.about['kind']}): the second half of the tokens looks {mean} on the mean{beside}"

    def specification(self) -> Figure:
        """A heat map a part, all on one scale where weights may be negative, and the reach of each token."""
        names = [str(text) for text in self.about["texts"]]
        signed = bool((self.table["weight"] < 0).any())
        top = float(self.table["weight"].abs().max()) or 1.0
        limits = (-top, top) if signed else (0.0, top)
        panels = [
            Panel([Heatmap(self.matrix(part), names, names, "weight", signed, limits)], "source", "query", str(part))
            for part in dict.fromkeys(self.table["part"])
        ]
        line = Line(np.arange(len(self.reach)), self.reach, "")
        panels.append(Panel([line], "token position", "mean distance looked back (tokens)", "reach"))
        return Figure(self.title, panels, alt=f"Attention weights. {self.summary()}", caption=self.summary())
