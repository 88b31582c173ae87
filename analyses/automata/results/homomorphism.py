"""Composition of transitions: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Bars, Figure, Heatmap, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class Homomorphism(Result, kind="homomorphism"):
    """How the transitions of each head compose, pair by pair of the group's elements."""

    title: ClassVar[str] = "Composition of transitions"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "first": "index of g",
        "second": "index of h",
        "error": "|A_g A_h - A_gh| beside the mean norm of a transition",
        "inside": "the same on the subspace where A_g A_(g^-1) is nearly the identity; nan where there is none",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def best(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose transitions compose best, on their subspace where they have one."""
        own = self.select(model=model).table
        errors = own.assign(kept=own["inside"].fillna(own["error"])).groupby(["layer", "head"])["kept"].mean()
        layer, head = errors.idxmin()
        return int(layer), int(head)

    def summary(self) -> str:
        lines = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            own = self.select(model=model, layer=layer, head=head).table
            said = self.about["heads"][f"{model}, layer {layer}, head {head}"]
            power = sorted(said["power"].items(), key=lambda entry: -entry[1])[:3]
            shares = ", ".join(f"{share:.0%} in {name}" for name, share in power)
            where = (
                f"{own['inside'].mean():.3g} on {said['dimensions']} dimensions" if said["dimensions"] else "no subspace composes"
            )
            lines.append(
                f"{model}, layer {layer}, head {head}: {self.about['group']} composes with an error of "
                f"{own['error'].mean():.3g} on the whole space, {where}; power {shares}; "
                f"a token's transition varies by {said['spread']:.2g} with its context"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model that composes best: the errors of all pairs, and the power by irreducible representation."""
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            own = self.select(model=model, layer=layer, head=head).table
            said = self.about["heads"][f"{model}, layer {layer}, head {head}"]
            column = "inside" if said["dimensions"] else "error"
            square = own.pivot(index="first", columns="second", values=column)
            names = [str(index) for index in square.index]
            title = f"{model}, layer {layer}, head {head}"
            panels.append(Panel([Heatmap(square.to_numpy(), names, names, "error of g h")], "h", "g", title))
            power = said["power"]
            panels.append(Panel([Bars(list(power), np.array(list(power.values())))], "irreducible", "share of the power", title))
        return Figure(self.title, panels, alt=f"Errors of composition, and power by irreducible representation. {self.summary()}")
