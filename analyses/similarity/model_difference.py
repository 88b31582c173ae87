"""How far one model has moved from another: by layer, in its stream, its states and its transitions, and in what it says."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...probe.hooks.names import layer_column, site_of
from ...probe.models.hooked import HookedModel
from ...probe.statistics.groups import group_bootstrap, sources_of
from .results.model_difference import ModelDifference

PLACES = ("blocks.*.hook_resid_post", "blocks.*.attn.hook_state", "blocks.*.attn.hook_transition")


@torch.no_grad()
def model_difference(
    first: HookedModel, second: HookedModel, tokens: Tensor, *, groups: Tensor | None = None, seed: int = 0
) -> ModelDifference:
    """Compare two models of one architecture, such as one before and after fine-tuning, on tokens [B, T].

    groups: [B], the unit of the intervals. Raises ValueError for models whose activations differ in shape.
    """
    sources = sources_of(groups, len(tokens)).numpy()
    names = [name for name in PLACES if any(_matches(one, name) for one in first.hook_dict)]
    taps: Any = "all" if PLACES[1] in names else None
    logits, ours = first.run_with_cache(tokens, names_filter=names, taps=taps)
    other, theirs = second.run_with_cache(tokens, names_filter=names, taps=taps)
    rows = []
    for name in ours.cache_dict:
        value = ours[name]
        if name not in theirs or _flat(theirs[name]).shape != _flat(value).shape:
            raise ValueError(f"{name} has another shape in the second model, or is not there: compare models of one architecture")
        a, b = _flat(value), _flat(theirs[name])
        each = ((a - b).norm(dim=1) / a.norm(dim=1)).cpu()
        unlike = float(((a - a.roll(1, 0)).norm(dim=1) / a.norm(dim=1)).mean()) if len(a) > 1 else float("nan")
        low, high = group_bootstrap(each.numpy(), sources, 1000, seed)
        rows.append((name, layer_column(name), site_of(name), float(each.mean()), low, high, unlike))
    own = logits.double().log_softmax(-1)
    away = (own.exp() * (own - other.double().log_softmax(-1))).sum(-1).flatten(1).mean(1).cpu()
    low, high = group_bootstrap(away.numpy(), sources, 1000, seed)
    rows.append(("output", -1, "output", float(away.mean()), low, high, float("nan")))
    return ModelDifference(pd.DataFrame(rows, columns=list(ModelDifference.columns)), {"sequences": len(tokens)})


def _matches(name: str, pattern: str) -> bool:
    return name.startswith("blocks.") and name.endswith(pattern.removeprefix("blocks.*"))


def _flat(value: Any) -> Tensor:
    """A sequence's numbers as one row, real ones in float64; of transitions those of their matrices."""
    value = value.dense() if isinstance(value, Transition) else value
    value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    rows: Tensor = value.double().flatten(1)
    return rows
