"""What the state holds: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class StateGeometry(Result, kind="state_geometry"):
    """The geometry of S_t for each model, layer, head, sequence and token."""

    title: ClassVar[str] = "What the state holds"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "position": "token position",
        "norm": "Frobenius norm of the state",
        "rank": "singular values above the tolerance of the largest",
        "effective_rank": "e to the entropy of the singular values",
        "stable_rank": "squared Frobenius norm over squared spectral norm",
        "entropy": "of the singular values as shares of their sum, in nats",
        "written": "Frobenius norm of what the token writes; nan where the mixer does not say",
        "erased": "Frobenius norm of what its transition takes from the state before; nan where there is no linear one",
        "interference": "share of the stored, squared, along the keys that the token writes; nan where nothing is stored",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def liveliest(self, model: str) -> tuple[int, int]:
        """The layer and head of a model that write most."""
        own = self.select(model=model).table
        layer, head = own.assign(moved=own["written"].fillna(own["norm"])).groupby(["layer", "head"])["moved"].mean().idxmax()
        return int(layer), int(head)

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            last = own[own["position"] == own["position"].max()]
            means = own[["written", "erased", "interference"]].mean()
            told = [
                f"{word} {means[name]:.3g}" for name, word in (("written", "writes"), ("erased", "erases")) if means[name] >= 0
            ]
            said = f"; a token {' and '.join(told)}" if told else ""
            if means["interference"] >= 0:
                said += f", with {means['interference']:.1%} of the stored where it writes"
            lines.append(
                f"{model}, layer {layer}: effective rank {last['effective_rank'].mean():.2f} and norm {last['norm'].mean():.3g} "
                f"after the last token{said}"
            )
        lines += [
            f"{where}: the state is kept on a scale of its own, so what is erased is not told" for where in self.about["scaled"]
        ]
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model that writes most: ranks over time; and on two tracks what is held, and what is written,
        upward, beside what is erased, downward.
        """
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.liveliest(model)
            own = self.select(model=model, layer=layer, head=head).table
            title = f"{model}, layer {layer}, head {head}"
            ranks = {"effective_rank": "effective rank", "stable_rank": "stable rank", "rank": "rank"}
            panels.append(
                Panel(
                    [Line.of_rows(own, "position", name, label) for name, label in ranks.items()], "token position", "rank", title
                )
            )
            panels.append(Panel([Line.of_rows(own, "position", "norm", "held")], "token position", "norm of the state", title))
            moved = [_filled(own, name, sign) for name, sign in (("written", 1), ("erased", -1)) if own[name].notna().any()]
            if moved:
                panels.append(Panel(moved, "token position", "erased below 0, written above", title, level=(0.0, "")))
        return Figure(
            self.title,
            panels,
            alt=f"Ranks of the state, and what is written and erased, over time. {self.summary()}",
            caption="Means over sequences, of ranks and norms with the least and the largest. All but ranks are Frobenius norms.",
            columns=1,
        )


def _filled(rows: pd.DataFrame, name: str, sign: int) -> Line:
    """The mean over sequences of a column, upward or downward, filled from 0."""
    means = sign * rows.groupby("position")[name].mean()
    y = means.to_numpy()
    return Line(means.index.to_numpy(), y, name, np.minimum(y, 0.0), np.maximum(y, 0.0))
