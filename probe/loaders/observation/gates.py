"""The gates and half-lives that a run has left, as a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...results.figure import Figure, Line, Panel
from ...results.result import Result


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
        marks = []
        for layer, own in self.table.groupby("layer", sort=True):
            finite = own[np.isfinite(own["half_life"]) & (own["half_life"] > 0)]
            if finite.empty:
                continue
            low, middle, high = (finite.groupby("position")["half_life"].quantile(q) for q in (0.25, 0.5, 0.75))
            x = middle.index.to_numpy()
            marks.append(Line(x, middle.to_numpy(), f"layer {layer}", low.to_numpy(), high.to_numpy()))
        panel = Panel(marks, "token position", "half-life in tokens", y_log=True)
        return Figure(self.title, [panel], alt=f"Half-life of each layer's state over the tokens. {self.summary()}")


def reduced(tokens: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gates of tokens by head, [B, T, H]: the mean "log_decay", the decay's "sign" where one is negative, "beta" if any."""
    any_token = next(iter(tokens.values()))
    found = {}
    if "log_decay" in tokens:
        found["log_decay"] = _of_heads(tokens["log_decay"])
    elif "decay" in tokens:
        found["log_decay"] = _of_heads(tokens["decay"].abs().float().log())
        if bool((tokens["decay"] < 0).any()):
            found["sign"] = tokens["decay"].sign().float().amin(-1)
    else:
        heads = tokens.get("v", tokens.get("x", any_token)).shape[2]
        found["log_decay"] = any_token.new_zeros(*any_token.shape[:2], heads)
    if "beta" in tokens:
        found["beta"] = _of_heads(tokens["beta"])
    return {name: value.detach().float().cpu() for name, value in found.items()}


def _of_heads(values: Tensor) -> Tensor:
    """The mean of each head, [B, T, H]."""
    return values.float().flatten(3).mean(-1) if values.ndim > 3 else values


def rows_of(gates: dict[str, Tensor], ids: Tensor | None, **where: Any) -> dict[str, Any]:
    """The columns of `Gates` for one layer of one run. gates: [B, T, H] each; ids: [B, T]."""
    log_decay = gates["log_decay"].double()
    sequence, position, head = np.indices(log_decay.shape)
    sign = gates.get("sign", torch.ones_like(log_decay)).double()
    half_life = torch.where(log_decay < 0, -np.log(2) / log_decay, torch.inf)
    known = torch.full(log_decay.shape[:2], -1) if ids is None else ids
    columns = {"sequence": sequence, "position": position, "head": head}
    columns["token"] = known[..., None].expand(log_decay.shape).numpy()
    columns["decay"] = (sign * log_decay.exp()).numpy()
    columns["half_life"] = half_life.numpy()
    columns["beta"] = gates["beta"].double().numpy() if "beta" in gates else np.full(log_decay.shape, np.nan)
    flat = {name: np.asarray(value).ravel() for name, value in columns.items()}
    return flat | {name: np.full(log_decay.numel(), value) for name, value in where.items()}
