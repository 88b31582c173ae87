"""The loss of each training step, and what the trained model costs on held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch.nn import functional

from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import IGNORED, Batch
from .results.training_curve import BITS, HeldOutCost

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def held_out_cost(models: Mapping[str, HookedModel], batch: Batch, *, seed: int) -> HeldOutCost:
    """Cross-entropy on a batch of held-out sequences, over the positions that have a target; the interval resamples sources.

    Raises ValueError for targets that are real numbers, and for a sequence without a target.
    """
    if batch.targets.is_floating_point():
        raise ValueError("the targets are real numbers, which have no cross-entropy; measure error_by_position")
    counted = batch.targets != IGNORED
    if not bool(counted.any(1).all()):
        raise ValueError(f"{int((~counted.any(1)).sum())} of {len(counted)} sequences have no target; leave them out")
    rows = []
    for name, model in models.items():
        with torch.no_grad():
            logits = model(batch.tokens).cpu()
            cost = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none")
        each = ((cost.view_as(batch.targets) * counted).sum(1) / counted.sum(1) * BITS).double().numpy()
        low, high = group_bootstrap(each, batch.groups.numpy(), 1000, seed)
        rows.append((name, float(each.mean()), low, high, sum(p.numel() for p in model.parameters())))
    return HeldOutCost(pd.DataFrame(rows, columns=list(HeldOutCost.columns)), {"tokens": int(counted.sum())})
