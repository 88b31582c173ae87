"""Whether the answers to one family of prompts follow linearly from those to another (Peng et al. 2025).

Such as "X lives in the city of" and "X lives in the country of": with next-token logits a_i and b_i of entity i, both less their
means, a linear map W of a is fitted on some entities and correlates with b on the others. Means are taken away, so that what all
entities share makes no correlation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.models.hooked import HookedModel
from ...probe.statistics.groups import group_bootstrap, group_folds
from ...probe.statistics.nulls import share_as_large
from .results.logit_correlation import LogitCorrelation


def logit_correlation(
    model: HookedModel,
    families: Mapping[str, Sequence[Any]],
    *,
    answers: Mapping[str, Sequence[int]] | None = None,
    penalty: float = 1e-2,
    folds: int = 5,
    shuffles: int = 99,
    seed: int = 0,
) -> LogitCorrelation:
    """Correlate each family of prompts with each other.

    families: name -> one prompt an entity, in the same order: texts, or token ids. The logits of the last token are taken.
    answers: name -> the tokens that answer a family's prompts, whose logits alone are taken. Without it all are: what a prompt
        says of an entity beside its answer then counts as well, and may tell of answers that have nothing to do with it.
    penalty: of the ridge map, relative to the mean variance of the logits. folds: of entities; each is predicted by the map of
        the others.

    Raises ValueError for families of different sizes, for answers of other families, and for fewer entities than folds.
    """
    sizes = {name: len(prompts) for name, prompts in families.items()}
    if len(sizes) < 2 or len(set(sizes.values())) > 1:
        raise ValueError(f"give two families or more with one prompt an entity each; got {sizes}")
    if answers is not None and set(answers) != set(families):
        raise ValueError(f"answers are of {sorted(answers)}; the families are {sorted(families)}")
    logits = {name: _last(model, prompts) for name, prompts in families.items()}
    if answers is not None:
        logits = {name: own[:, torch.as_tensor(answers[name])] for name, own in logits.items()}
    count = next(iter(sizes.values()))
    entities = torch.arange(count)
    held = group_folds(entities, folds, seed)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(count, generator=generator) for _ in range(shuffles)]
    rows = []
    for one, a in logits.items():
        maps = [_hat(a, out, penalty) for out in held]
        for other, b in logits.items():
            if one == other:
                continue
            each = _correlations(maps, held, b)
            null = np.array([float(_correlations(maps, held, b[order]).mean()) for order in orders])
            low, high = group_bootstrap(each.numpy(), entities.numpy(), 1000, seed)
            p = share_as_large(null, float(each.mean()))
            chance = float(null.mean()) if shuffles else float("nan")
            rows.append((f"{one} to {other}", float(each.mean()), low, high, chance, p, count))
    about = {"penalty": penalty, "folds": folds, "shuffles": shuffles}
    return LogitCorrelation(pd.DataFrame(rows, columns=list(LogitCorrelation.columns)), about)


@torch.no_grad()
def _last(model: HookedModel, prompts: Sequence[Any]) -> Tensor:
    """The logits of the last token of each prompt, [N, vocabulary]; prompts of one length run together."""
    given = (prompt if isinstance(prompt, str) else torch.as_tensor(prompt).reshape(1, -1) for prompt in prompts)
    tokens = [model.as_tokens(prompt)[0] for prompt in given]
    found: dict[int, Tensor] = {}
    for length in {own.shape[1] for own in tokens}:
        numbers = [number for number, own in enumerate(tokens) if own.shape[1] == length]
        logits = model(torch.cat([tokens[number] for number in numbers]))[:, -1].double().cpu()
        found |= dict(zip(numbers, logits, strict=True))
    return torch.stack([found[number] for number in range(len(tokens))])


def _hat(a: Tensor, out: Tensor, penalty: float) -> Tensor:
    """The matrix [held out, seen] that gives predictions of held-out entities from what the seen ones have."""
    seen = a[~out] - a[~out].mean(0)
    gram = seen @ seen.T
    ridge = penalty * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    found: Tensor = torch.linalg.solve(gram + ridge, seen @ (a[out] - a[~out].mean(0)).T).T
    return found


def _correlations(maps: Sequence[Tensor], held: Sequence[Tensor], b: Tensor) -> Tensor:
    """The correlation of each entity's predicted and true logits, less the means of those that were seen, [N]."""
    found = b.new_zeros(len(b))
    for hat, out in zip(maps, held, strict=True):
        mean = b[~out].mean(0)
        predicted, truth = hat @ (b[~out] - mean), b[out] - mean
        predicted, truth = (x - x.mean(1, keepdim=True) for x in (predicted, truth))
        norms = (predicted.norm(dim=1) * truth.norm(dim=1)).clamp(min=1e-300)
        found[out] = (predicted * truth).sum(1) / norms
    return found
