"""The state of one sequence over time, on its principal axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.results.figure import Figure, Line, Panel, Points
from ...probe.results.result import Result
from ..models import Models, named_models, real_parts, states_of

AXES = 3
MOST_FITTED = 1024


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
        "axis_1": "first principal axis of the head's states, in the state's units",
        "axis_2": "second",
        "axis_3": "third",
        "norm": "Frobenius norm of the state",
        "change": "Frobenius norm of S_t - S_{t-1}",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        explained = self.about.get("explained", {})
        turned = set(self.about.get("complex", ()))
        lines = [
            f"{where}: three axes hold {share:.1%} of the variance" + " of real and imaginary parts" * (where in turned)
            for where, share in explained.items()
        ]
        return "\n".join(lines) or f"{len(self.table)} states"

    def liveliest(self, model: str) -> dict[str, int]:
        """The layer and head of a model whose state changes most in the second half of the sequence."""
        own = self.table[(self.table["model"] == model) & (self.table["position"] >= self.table["position"].max() / 2)]
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


def state_trajectory(models: Models, tokens: Tensor, *, texts: Sequence[str], labels: Tensor, label: str) -> StateTrajectory:
    """Follow the states of every head over one sequence.

    models: a model, ours or a loaded one, or several by name; layers without a state are left out.
    tokens: [T], or one sequence [T, inputs] of real numbers.
    texts: the T tokens as text.
    labels: [T], a number for each token; label: their name.

    Principal axes are those of the head's own T states, centred. A complex state [n] counts as the 2n real numbers that are its
    real and imaginary parts, and `about["complex"]` names where; norms are the same either way. Raises ValueError for a model
    without a state, and for texts or labels that are not one a token.
    """
    for what, given in (("texts", texts), ("labels", labels)):
        if len(given) != len(tokens):
            raise ValueError(f"{what} has {len(given)} entries for {len(tokens)} tokens")
    tables, explained, turned = [], {}, []
    for name, model in named_models(models).items():
        for layer, states in states_of(model, tokens[None], Tap(every=1)):
            for head in range(states.shape[2]):
                place = f"{name}, layer {layer}, head {head}"
                table, explained[place] = follow(real_parts(states[0, :, head].flatten(1)))
                turned += [place] if states.is_complex() else []
                where = {"model": name, "layer": layer, "head": head, "position": range(len(tokens))}
                tables.append(table.assign(**where, token=list(texts), label=labels.tolist()))
    about = {"label": label, "explained": explained, "complex": turned}
    return StateTrajectory(pd.concat(tables, ignore_index=True), about)


def follow(states: Tensor) -> tuple[pd.DataFrame, float]:
    """Real states [T, n]: their coordinates, norms and changes, and the share of variance on the axes.

    The axes of more than 1,024 states are those of every second, third, ... of them, 1,024 at most.
    """
    centred = states - states.mean(0)
    _, _, right = torch.linalg.svd(centred[:: math.ceil(len(centred) / MOST_FITTED)], full_matrices=False)
    found = centred @ right[:AXES].mT
    coordinates = np.pad(found.numpy(), ((0, 0), (0, AXES - found.shape[1])))
    variance = float(centred.square().sum())
    change = torch.cat([states[:1], states.diff(dim=0)]).norm(dim=1)
    table = pd.DataFrame(coordinates, columns=[f"axis_{axis + 1}" for axis in range(AXES)])
    table = table.assign(norm=states.norm(dim=1).numpy(), change=change.numpy())
    return table, float(found.square().sum()) / variance if variance > 0 else 1.0
