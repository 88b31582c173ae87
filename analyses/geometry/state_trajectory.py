"""The state of one sequence over time, on its principal axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.models.model import Model
from ...probe.results.figure import Figure, Line, Panel, Points
from ...probe.results.result import Result

AXES = 3


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
        lines = [f"{where}: three axes hold {share:.1%} of the variance" for where, share in explained.items()]
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


def state_trajectory(
    models: Mapping[str, Model], tokens: Tensor, *, texts: Sequence[str], labels: Tensor, label: str
) -> StateTrajectory:
    """Follow the states of every head over one sequence.

    tokens: [T]. texts: the T tokens as text. labels: [T], a number for each token; label: their name.
    Principal axes are those of the head's own T states, centred.
    """
    tables, explained = [], {}
    for name, model in models.items():
        hooks = [hook for hook in model.hook_dict if hook.endswith("attn.hook_state")]
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens[None], names_filter=hooks, taps=Tap(every=1), return_type=None)
        for hook in hooks:
            states = cache[hook][0].double()
            for head in range(states.shape[1]):
                where = {"model": name, "layer": int(hook.split(".")[1]), "head": head}
                table, share = _follow(states[:, head].flatten(1))
                explained[f"{name}, layer {where['layer']}, head {head}"] = share
                tables.append(table.assign(**where, position=range(len(tokens)), token=list(texts), label=labels.tolist()))
    if not tables:
        raise ValueError("none of the models has a layer with a state")
    return StateTrajectory(pd.concat(tables, ignore_index=True), {"label": label, "explained": explained})


def _follow(states: Tensor) -> tuple[pd.DataFrame, float]:
    """States [T, K * V]: their coordinates, norms and changes, and the share of variance on the axes."""
    centred = states - states.mean(0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    coordinates = (left * singular)[:, :AXES].numpy()
    coordinates = np.pad(coordinates, ((0, 0), (0, AXES - coordinates.shape[1])))
    variance = singular.square()
    change = torch.cat([states[:1], states.diff(dim=0)]).norm(dim=1)
    table = pd.DataFrame(coordinates, columns=[f"axis_{axis + 1}" for axis in range(AXES)])
    table = table.assign(norm=states.norm(dim=1).numpy(), change=change.numpy())
    return table, float(variance[:AXES].sum() / variance.sum().clamp(min=1e-300))
