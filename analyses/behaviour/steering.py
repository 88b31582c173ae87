"""What adding a direction to an activation does to the next-token distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ...probe.captures.capture import labelled
from ...probe.statistics.groups import group_bootstrap
from ...probe.subspaces.direction import Direction
from ...probe.tasks.base import IGNORED, Batch, generator_for
from .results.steering import Steering

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def steering(
    directions: Mapping[str, tuple[HookedModel, Direction]],
    batch: Batch,
    concept_log_odds: Tensor,
    *,
    strengths: Sequence[float],
    seed: int,
    text_of: Sequence[str],
) -> Steering:
    """Steer models along directions, where the concept does not hold.

    directions: model name -> (model, direction). batch: held-out sequences with the direction's label.
    concept_log_odds: [vocabulary], log(f(b | concept) / f(b | no concept)). text_of: each token as text.

    Raises ValueError for a direction whose concept holds everywhere in the batch.
    """
    rows, changes = [], {}
    for name, (model, direction) in directions.items():
        absent = batch.labels[direction.name] == 0
        if not bool(absent.any()):
            raise ValueError(f"{direction.name} holds at every position of this batch; steering is measured where it does not")
        plain = _distribution(model, batch.tokens, None)
        control = Direction.random(direction, generator_for(seed, 17))
        for used in (direction, control):
            for strength in strengths:
                steered = _distribution(model, batch.tokens, used.steer(strength))
                change = (steered.exp() - plain.exp()) @ concept_log_odds
                divergence = (steered.exp() * (steered - plain)).sum(-1)
                each, groups = change[absent].double().numpy(), batch.groups[:, None].expand_as(absent)[absent].numpy()
                low, high = group_bootstrap(each, groups, 500, seed)
                rows.append((name, used.name, used.hook, strength, each.mean(), low, high, float(divergence[absent].mean())))
                if used is direction and strength == max(strengths):
                    changes[name] = _largest((steered.exp() - plain.exp())[absent].mean(0), text_of)
    table = pd.DataFrame(rows, columns=list(Steering.columns))
    return Steering(table, {"largest_changes": changes, "positions": int(absent.sum())})


def log_odds(tokens: Tensor, present: Tensor, vocabulary: int) -> Tensor:
    """log(f(b | concept) / f(b | no concept)) of tokens [N], with one count added to each.

    present [N]: whether the concept holds, as booleans or as numbers of which 0 says no. What is -100, as a token or as a
    label, is not counted.
    """
    if tokens.shape != present.shape:
        raise ValueError(f"tokens {tuple(tokens.shape)} and present {tuple(present.shape)} need one shape")
    holds, counted = present != 0, (tokens != IGNORED) & labelled(present)
    counts = torch.stack([torch.bincount(tokens[counted & mask], minlength=vocabulary) + 1.0 for mask in (holds, ~holds)])
    frequencies = counts / counts.sum(1, keepdim=True)
    return frequencies[0].log() - frequencies[1].log()


def _distribution(model: HookedModel, tokens: Tensor, hook: tuple[str, Callable[..., Tensor]] | None) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens) if hook is None else model.run_with_hooks(tokens, fwd_hooks=[hook])
    return logits.log_softmax(-1).cpu()


def _largest(change: Tensor, text_of: Sequence[str]) -> list[tuple[str, float]]:
    order = change.abs().argsort(descending=True)[:8]
    return [(text_of[index], float(change[index])) for index in order.tolist()]
