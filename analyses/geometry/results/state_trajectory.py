"""State over time: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel, Points
from ....probe.results.result import Result

AXES = 3


def axes_in_words(states: int, share: float) -> str:
    """What the principal axes of so many states hold: no more of them have axes than one less than there are states."""
    if states < 2:
        return "a single state has no axes"
    return f"{('one axis holds', 'two axes hold', 'three axes hold')[min(states - 1, AXES) - 1]} {share:.1%} of the variance"


@dataclass(frozen=True)
class StateTrajectory(Result, kind="state_trajectory"):
    """For each model, layer and head: the state after every token of a sequence on its first three principal axes."""

    title: ClassVar[str] = "State over time"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "position": "token position",
        "token": "the token's text",
        "label": "what is true after the token",
        "axis_1": "first principal axis of the head's states, in the state's units; 0 where so few states have fewer axes",
        "axis_2": "second",
        "axis_3": "third",
        "norm": "Frobenius norm of the state",
        "change": "Frobenius norm of S_t - S_{t-1}",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        explained, states = self.about.get("explained", {}), self.table["position"].nunique()
        turned, still = (set(self.about.get(name, ())) for name in ("complex", "still"))
        lines = [
            f"{where}: {axes_in_words(states, share)}" + " of real and imaginary parts" * (where in turned and states > 1)
            if where not in still
            else f"{where}: the state is the same after every token"
            for where, share in explained.items()
        ]
        return "\n".join(lines) or f"{len(self.table)} states"

    def liveliest(self, model: str) -> dict[str, int]:
        """The layer and head of a model whose state changes most in the second half of the sequence."""
        own = self.select(model=model).table
        own = own[own["position"] >= own["position"].max() / 2]
        layer, head = own.groupby(["layer", "head"])["change"].mean().idxmax()
        return {"layer": int(layer), "head": int(head)}

    def specification(self) -> Figure:
        """For the liveliest head of each model, the path on the first two axes, coloured by label, and the norm over time."""
        label_name = str(self.about.get("label", "label"))
        panels = []
        for name in dict.fromkeys(self.table["model"]):
            where = self.liveliest(name)
            own = self.select(model=name, **where).table.sort_values("position")
            texts = [f"{row.position}: {row.token!r}, {label_name} {row.label}" for row in own.itertuples()]
            x, y, labels = (own[column].to_numpy() for column in ("axis_1", "axis_2", "label"))
            path = Points(x, y, "", labels, label_name, texts, joined=True)
            title = f"{name}, layer {where['layer']}, head {where['head']}"
            panels.append(Panel([path], "first principal axis", "second principal axis", title))
            position = own["position"].to_numpy()
            columns = (("norm", "norm of the state"), ("change", "norm of its change"))
            size = [Line(position, own[column].to_numpy(), label) for column, label in columns]
            panels.append(Panel(size, "token position", "Frobenius norm", title))
        return Figure(self.title, panels, alt=f"The state after each token of one sequence, coloured by {label_name}.")
