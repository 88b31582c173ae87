"""What a layer is for: what changes in the layers behind it, and in the answer, when it is skipped (Csordas et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...probe.hooks.names import hook_name
from ...probe.models.hooked import HookedModel
from ...probe.statistics.groups import group_bootstrap, sources_of
from .results.depth_use import DepthUse

PRE, POST = "hook_resid_pre", "hook_resid_post"


@torch.no_grad()
def depth_use(model: HookedModel, tokens: Tensor, *, groups: Tensor | None = None, seed: int = 0) -> DepthUse:
    """Skip each layer of a model in turn, on tokens [B, T] of two positions at least.

    groups: [B], the unit of the intervals; each sequence its own when None. Raises ValueError for a model without a stream.
    """
    layers = range(model.layers)
    names = [hook_name(layer, place) for layer in layers for place in (PRE, POST)]
    if not names or not set(names) <= set(model.hook_dict) or tokens.shape[1] < 2:
        raise ValueError("depth_use needs a model with a residual stream, of ours or loaded, and two positions at least")
    sources = sources_of(groups, len(tokens)).numpy()
    plain, cache = model.run_with_cache(tokens, names_filter=names)
    own, added = plain.double().log_softmax(-1), _contributions(cache, layers)
    size = {layer: added[layer].norm(dim=-1) / cache[hook_name(layer, PRE)].norm(dim=-1) for layer in layers}
    middle, rows = tokens.shape[1] // 2, []
    for scope, skip, seen in (("all", slice(None), slice(None)), ("future", slice(0, middle), slice(middle, None))):
        for skipped in layers:
            with model.hooks(fwd_hooks=skipping(skipped, skip)):
                logits, after = model.run_with_cache(tokens, names_filter=names)
            away = (own.exp() * (own - logits.double().log_softmax(-1))).sum(-1)[:, seen]
            changed = _contributions(after, layers)
            for layer in layers:
                moved = (changed[layer] - added[layer])[:, seen].norm(dim=-1) / added[layer][:, seen].norm(dim=-1)
                each = moved.double().mean(1).cpu().numpy()
                low, high = group_bootstrap(each, sources, 1000, seed)
                held = float(size[layer][:, seen].mean())
                rows.append((scope, skipped, layer, float(each.mean()), low, high, held, float(away.mean())))
    table = pd.DataFrame(rows, columns=list(DepthUse.columns))
    return DepthUse(table, {"sequences": len(tokens), "tokens": tokens.shape[1]})


def skipping(layer: int, positions: slice = slice(None)) -> list[tuple[Any, Callable[..., Any]]]:
    """Hooks for `run_with_hooks` that let a block add nothing to the stream at some positions."""
    entering: dict[str, Tensor] = {}

    def read(stream: Tensor, hook: Any) -> None:
        entering["stream"] = stream.clone()

    def write(stream: Tensor, hook: Any) -> Tensor:
        changed = stream.clone()
        changed[:, positions] = entering["stream"][:, positions]
        return changed

    return [(hook_name(layer, PRE), read), (hook_name(layer, POST), write)]


def _contributions(cache: Any, layers: range) -> dict[int, Tensor]:
    return {layer: cache[hook_name(layer, POST)] - cache[hook_name(layer, PRE)] for layer in layers}
