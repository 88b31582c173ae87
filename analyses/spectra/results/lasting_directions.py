"""Directions that last: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....probe.results.figure import Figure, Heatmap, Panel
from ....probe.results.result import Result

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class LastingDirections(Result, kind="lasting_directions"):
    """The directions of each head's state that last longest over a stretch of tokens, channel by channel."""

    title: ClassVar[str] = "Directions that last"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "index": "rank of the direction, from 1: the one that lasts longest",
        "exponent": "its finite-time exponent, in nats a token; -inf where the stretch erases it",
        "half_life": "tokens until it is halved; inf where it does not decay, 0 where it is erased",
        "side": "before the stretch, or after: the direction that it has then become",
        "channel": "key channel of the state",
        "real": "component of the direction, a unit vector; its real part",
        "imaginary": "imaginary part",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "sequence")

    def directions(self, side: str = BEFORE, **where: Any) -> NDArray[Any]:
        """The directions of one head over one sequence as columns, [K, n]; real where all their components are.

        side: "before" or "after". where: model, layer, head and sequence, as far as there are several. Raises ValueError where
        more than one head or sequence is left.
        """
        own = self.select(**where).table
        own = own[own["side"] == side]
        if own.duplicated(["index", "channel"]).any():
            raise ValueError(f"choose one of each of {', '.join(self.selected_by)}; {where or 'nothing'} leaves several")
        found: NDArray[Any] = (own["real"] + 1j * own["imaginary"]).to_numpy().reshape(own["index"].nunique(), -1).T
        return found if own["imaginary"].any() else found.real.copy()

    def longest(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose first direction lasts longest, on the mean over sequences."""
        own = self.select(model=model, index=1).table
        layer, head = own.groupby(["layer", "head"])["exponent"].mean().idxmax()
        return int(layer), int(head)

    def kept(self) -> pd.DataFrame:
        """For each model, layer, head, sequence and rank: the exponent, the half-life, and the |cosine| of the direction before
        and after, which is 1 where it is not turned.
        """
        places = ["model", "layer", "head", "sequence", "index"]
        value = self.table.assign(value=self.table["real"] + 1j * self.table["imaginary"])
        sides = [value[value["side"] == side].set_index([*places, "channel"]) for side in (BEFORE, AFTER)]
        product = sides[0]["value"].map(np.conj) * sides[1]["value"]
        first = sides[0].groupby(level=places, sort=False)[["exponent", "half_life"]].first()
        return first.assign(cosine=product.groupby(level=places, sort=False).sum().map(np.abs)).reset_index()

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.kept().groupby(["model", "layer"], sort=False):
            first = own[own["index"] == 1]
            lines.append(
                f"{model}, layer {layer}: over {self.about['window']} tokens from token {self.about['start']} on the direction "
                f"that lasts longest {_range(first['half_life'])} over heads and sequences, and comes out with a cosine of "
                f"{first['cosine'].mean():.2f} to what it was"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model with the longest half-life: the squared components before and after, over sequences."""
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.longest(str(model))
            own = self.select(model=model, layer=layer, head=head).table
            power = own.assign(power=own["real"] ** 2 + own["imaginary"] ** 2)
            lives = own.groupby("index")["half_life"].median()
            names = [f"{index}: {_said(life)}" for index, life in lives.items()]
            most = float(power.groupby(["side", "index", "channel"])["power"].mean().max())
            for side in (BEFORE, AFTER):
                square = power[power["side"] == side].pivot_table(index="index", columns="channel", values="power")
                channels = [str(channel) for channel in square.columns]
                mark = Heatmap(square.to_numpy(), names, channels, "share", limits=(0.0, most))
                panels.append(Panel([mark], "key channel", "", f"{model}, layer {layer}, head {head}: {side}"))
        return Figure(
            self.title,
            panels,
            alt=f"Directions of the state that last longest, by key channel. {self.summary()}",
            caption=f"Rows are directions with their median half-lives over {self.about['window']} tokens; colours the share of "
            "each channel in a direction, the mean over sequences.",
        )


def _range(lives: pd.Series) -> str:
    if np.isinf(lives.min()):
        return "does not decay"
    return f"has a half-life of {lives.min():.3g} to {lives.max():.3g} tokens"


def _said(life: float) -> str:
    return "erased" if life == 0 else "does not decay" if np.isinf(life) else f"half-life {life:.3g}"
