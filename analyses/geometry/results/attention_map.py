"""What each token looks at: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result

WHOLE, ADDITIVE, ERASURE = "attention", "additive", "erasure"


@dataclass(frozen=True)
class AttentionMap(Result, kind="attention_map"):
    """The weight of each source in each token's read-out over one sequence, in one head or in several beside each other."""

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

    def beside(self, other: AttentionMap) -> AttentionMap:
        """Put the heads of another map of the same tokens beside these: on one scale, where weights are of one kind.

        Raises ValueError for other tokens.
        """
        if other.about["texts"] != self.about["texts"]:
            first, second = (texts[:8] for texts in (self.about["texts"], other.about["texts"]))
            raise ValueError(f"heads are compared over the same tokens; these maps are of {first} and {second}")
        table = pd.concat([self.table, other.table], ignore_index=True).drop_duplicates(ignore_index=True)
        return AttentionMap(table, {**self.about, "kinds": {**self.about["kinds"], **other.about["kinds"]}})

    def heads(self) -> dict[str, AttentionMap]:
        """The map of each head, by where it is."""
        places = self.table.groupby(["model", "layer", "head"], sort=False)
        return {place_of(*key): AttentionMap(rows.reset_index(drop=True), self.about) for key, rows in places}

    def matrix(self, part: str = WHOLE) -> np.ndarray:
        """The weights [T, T] of a part, 0 after the query.

        Raises UnknownNameError for a part that is not told, ValueError where there are several heads.
        """
        own = self.select(part=part).table
        if own.duplicated(["query", "source"]).any():
            raise ValueError(f"choose one head by select(layer=..., head=...); there are {', '.join(self.heads())}")
        found = np.zeros((self.about["tokens"], self.about["tokens"]))
        found[own["query"], own["source"]] = own["weight"]
        return found

    @property
    def parts(self) -> list[str]:
        """The parts that the weights are told in, all of them first."""
        return [part for part in (WHOLE, ADDITIVE, ERASURE) if part in set(self.table["part"])]

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
        """How far back the last tokens look, and how much of it is erasure, a head a line."""
        return "\n".join(_said(where, self.about["kinds"][where], head) for where, head in self.heads().items())

    def specification(self) -> Figure:
        """A heat map for each part of each head, then how far each head looks back. Heads of the same parts have a column each. A
        softmax head, which has no parts, would leave places free below its map: beside it each head has a row, those with most
        parts first. Heads of one kind share a scale: softmax weights are shares of 1, those of a linear layer have no such unit.
        """
        heads, kinds = self.heads(), self.about["kinds"]
        top = dict.fromkeys(kinds.values(), 0.0)
        for where, head in heads.items():
            top[kinds[where]] = max(top[kinds[where]], float(head.table["weight"].abs().max()))
        parts = {where: head.parts for where, head in heads.items()}
        most = max(parts.values(), key=len)
        if all(own == most for own in parts.values()):
            columns, drawn = len(heads), [(where, part) for part in most for where in heads]
        else:
            order = sorted(heads, key=lambda where: -len(parts[where]))
            columns, drawn = len(most), [(where, part) for where in order for part in parts[where]]
        signed = {kinds[where] for where, head in heads.items() if (head.table["weight"] < 0).any()}
        panels = [
            self._panel(where, heads[where], part, top[kinds[where]] or 1.0, kinds[where] in signed) for where, part in drawn
        ]
        at = np.arange(self.about["tokens"])
        lines = [Line(at, head.reach, where if len(heads) > 1 else "") for where, head in heads.items()]
        panels.append(Panel(lines, "token position", "tokens", "mean distance looked back"))
        model = self._model
        return Figure(
            self.title if model is None else f"{self.title}: {model}",
            panels,
            columns=columns,
            alt=f"Attention weights. {self.summary()}",
            caption="Heads of one kind are on one scale: softmax weights are shares of 1, linear ones have no unit.",
        )

    def _panel(self, where: str, head: AttentionMap, part: str, top: float, signed: bool) -> Panel:
        names = [str(text) for text in self.about["texts"]]
        map_ = Heatmap(head.matrix(part), names, names, "weight", signed, (-top if signed else 0.0, top))
        own = where if self._model is None else where.removeprefix(f"{self._model}, ")
        return Panel([map_], "source", "query", f"{own}: {part}")

    @property
    def _model(self) -> str | None:
        """The name of the model, which the figure's title says once; None where there are several."""
        models = self.table["model"].unique()
        return str(models[0]) if len(models) == 1 else None


def place_of(model: object, layer: object, head: object) -> str:
    """How a head is called."""
    return f"{model}, layer {layer}, head {head}"


def _said(where: str, kind: str, head: AttentionMap) -> str:
    reach = head.reach
    later = reach[len(reach) // 2 :]
    whole = max(np.abs(head.matrix()).sum(), 1e-300)
    sizes = [f"{part} {np.abs(head.matrix(part)).sum() / whole:.2f}" for part in head.parts if part != WHOLE]
    beside = f"; as shares of all weights, {' and '.join(sizes)}" if sizes else ""
    mean = "nothing" if np.isnan(later).all() else f"{np.nanmean(later):.2f} tokens back"
    return f"{where} ({kind}): the second half of the tokens looks {mean} on the mean{beside}"
