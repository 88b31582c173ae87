"""Induction and copying of any model, by what it says of random tokens that come again: no attention heads are needed.

A sequence is a block of random tokens and the block once more, or in another order. Induction is what the order adds: the gain in
log-probability of the next token in the second block when it repeats the first, over when it is shuffled. Copying is the
probability that the model gives, in a shuffled second block, to tokens that it has seen, beside their share of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.hooks.names import hook_name
from ...probe.models.hooked import HookedModel
from ...probe.statistics.groups import group_bootstrap
from .depth_use import POST, skipping
from .results.induction import InductionScores


@torch.no_grad()
def induction_scores(
    models: HookedModel | dict[str, HookedModel],
    vocabulary: int,
    generator: torch.Generator,
    *,
    block: int = 16,
    sequences: int = 64,
) -> InductionScores:
    """Score models on blocks of `block` different random tokens below `vocabulary`.

    Raises ValueError for a block of fewer than 3 tokens, or of more than there are.
    """
    if not 3 <= block <= vocabulary:
        raise ValueError(f"a block has 3 to {vocabulary} tokens (the vocabulary), got {block}")
    first = torch.rand(sequences, vocabulary, generator=generator).argsort(1)[:, :block]
    order = torch.rand(sequences, block, generator=generator).argsort(1)
    repeated, shuffled = torch.cat([first, first], 1), torch.cat([first, first.gather(1, order)], 1)
    named = {"model": models} if isinstance(models, HookedModel) else dict(models)
    rows = []
    for name, model in named.items():
        streams = hook_name(0, POST) in model.hook_dict
        for skipped in (-1, *(range(model.layers) if streams else ())):
            with model.hooks(fwd_hooks=[] if skipped < 0 else skipping(skipped)):
                gain = _second(model, repeated, block) - _second(model, shuffled, block)
                seen = _mass(model, shuffled, first, block) - block / vocabulary
            rows.append((name, skipped, *_interval(gain), *_interval(seen)))
    about = {"vocabulary": vocabulary, "block": block, "sequences": sequences}
    return InductionScores(pd.DataFrame(rows, columns=list(InductionScores.columns)), about)


def _second(model: HookedModel, tokens: Tensor, block: int) -> Tensor:
    """The mean log-probability of the tokens of the second block behind its first, [B]."""
    said = model(tokens)[:, block:-1].double().log_softmax(-1).cpu()
    found: Tensor = said.gather(2, tokens[:, block + 1 :, None])[..., 0].mean(1)
    return found


def _mass(model: HookedModel, tokens: Tensor, seen: Tensor, block: int) -> Tensor:
    """The mean probability of all tokens of the first block, in the second, [B]."""
    said = model(tokens)[:, block:-1].double().softmax(-1).cpu()
    found: Tensor = said.gather(2, seen[:, None].expand(-1, said.shape[1], -1)).sum(-1).mean(1)
    return found


def _interval(values: Tensor) -> tuple[float, float, float]:
    each: Any = values.numpy()
    return float(each.mean()), *group_bootstrap(each, np.arange(len(each)), 1000, 0)
