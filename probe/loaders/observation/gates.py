"""The gates and half-lives that a run has left, as the rows of a result."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


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
