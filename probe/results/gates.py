"""Gates and half-lives: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .figure import Figure, Panel
from .intervals import line_of_quartiles
from .result import Result


@dataclass(frozen=True)
class Gates(Result, kind="gates"):
    """The decay, half-life and step size of each token, by layer and head, in a model that ran under `observe`.

    decay is e to the mean of the log-decay over the channels of a head, apart from what a delta rule erases along its key. A
    state that decays so at every token halves in half_life = ln 2 / -log decay tokens.
    """

    title: ClassVar[str] = "Gates and half-lives"
    columns: ClassVar[dict[str, str]] = {
        "run": "number of the sequence of calls, in the order in which they began",
        "layer": "recurrent layer, in the order in which they ran",
        "head": "head of the recurrence",
        "sequence": "sequence of the batch",
        "position": "position of the token, prompt and generated ones",
        "token": "token id; -1 where the model was given none",
        "decay": "factor by which the token shrinks the state; below 0 where the state changes its sign",
        "half_life": "tokens in which a state that decays so halves; infinite for a decay of 1",
        "beta": "step size of the delta rule; nan for another recurrence",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("run", "layer", "head")

    def summary(self) -> str:
        lines = []
        for layer, own in self.table.groupby("layer", sort=True):
            beta = "" if own["beta"].isna().all() else f", step size {own['beta'].mean():.3g}"
            lines.append(f"layer {layer}: half-life {own['half_life'].median():.3g} tokens in the middle{beta}")
        cost = self.about.get("overhead")
        if cost is not None:
            lines.append(f"watching took {cost:.1%} of the model's own time")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The half-life at each position, a line a layer, in the middle of heads and sequences, with the quartiles."""
        halving = self.table[np.isfinite(self.table["half_life"]) & (self.table["half_life"] > 0)]
        layers = halving.groupby("layer", sort=True)
        marks = [line_of_quartiles(own, "position", "half_life", f"layer {layer}") for layer, own in layers]
        panel = Panel(marks, "token position", "half-life in tokens", y_log=True)
        return Figure(self.title, [panel], alt=f"Half-life of each layer's state over the tokens. {self.summary()}")
