"""What a change inside a model may change at its output: a number for each position of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...probe.tasks.base import IGNORED, Batch

Measure = Callable[[Tensor, Batch], Tensor]
"""From logits [B, T, vocabulary] and the batch to numbers [B, T]; nan where there is nothing to measure."""


def token_loss(logits: Tensor, batch: Batch) -> Tensor:
    """The cross-entropy of each target in nats; of real targets, the mean squared error at each position."""
    targets = batch.targets.to(logits.device)
    if targets.is_floating_point():
        return (logits - targets).square().mean(-1)
    loss = functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return loss.masked_fill(targets == IGNORED, torch.nan)


def token_accuracy(logits: Tensor, batch: Batch) -> Tensor:
    """1 where the likeliest token is the target and 0 where it is not. Raises ValueError for real targets, which none hits."""
    targets = batch.targets.to(logits.device)
    if targets.is_floating_point():
        raise ValueError("real targets have no accuracy; measure token_loss")
    return (logits.argmax(-1) == targets).to(logits.dtype).masked_fill(targets == IGNORED, torch.nan)


def concept_score(log_odds: Tensor) -> Measure:
    """How much the next token's distribution p looks like a concept: sum_b p(b) log_odds(b) in nats, at every position.

    log_odds: [vocabulary], as `log_odds` of tokens where the concept holds and where it does not.
    """

    def score_of_the_concept(logits: Tensor, batch: Batch) -> Tensor:
        found: Tensor = logits.softmax(-1) @ log_odds.to(logits)
        return found

    return score_of_the_concept
