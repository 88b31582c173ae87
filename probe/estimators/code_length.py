"""Online code length: how few bits the labels take for one who has the activations (Voita and Titov 2020, arXiv:2003.12298)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..captures.stored import CHUNK, Features, subset
from ..errors import CannotFitError
from .estimator import Estimator, K, Probe

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the groups, that have been sent when a block ends


def code_lengths(
    estimator: Estimator, features: Features, targets: Mapping[K, Tensor], groups: Tensor, seed: int
) -> dict[K, float]:
    """Bits a sample of the prequential code of each target, name -> bits. The uniform code takes log2 of the number of classes.

    Labels are sent in blocks of whole groups. The first block, and one for which no probe can be fitted, goes by the uniform
    code; each other by the probabilities of a probe fitted to all blocks before, p = (n p_probe + 1) / (n + C) with n samples
    seen and C classes, so that a class that has not come up yet has a code. It is a code: for random labels that have nothing to
    do with the activations it is on average no shorter than the uniform one, whatever the probe.

    features [N, D]; targets: name -> classes [N]; groups [N]: the source of each sample. Needs an estimator whose probes give
    log-probabilities.
    """
    unique = groups.unique()
    order = unique[torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed))]
    ends = [round(share * len(order)) for share in SHARES]
    sent = torch.zeros(len(groups), dtype=torch.bool)
    classes = {name: target.unique() for name, target in targets.items()}
    bits = dict.fromkeys(targets, 0.0)
    for begin, end in zip([0, *ends], ends, strict=False):
        block = torch.isin(groups, order[begin:end])
        probes = _fitted(
            estimator, subset(features, sent), {name: target[sent] for name, target in targets.items()}, groups[sent]
        )
        for name, target in targets.items():
            likelihood = torch.full((int(block.sum()),), 1 / len(classes[name]), dtype=torch.float64)
            if name in probes:
                likelihood = _mixed(probes[name], features, block.nonzero()[:, 0], target, classes[name], int(sent.sum()))
            bits[name] -= float(likelihood.log2().sum())
        sent |= block
    return {name: total / len(groups) for name, total in bits.items()}


def _fitted(estimator: Estimator, features: Features, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
    """Probes of what has been sent, where there are two classes and groups enough."""
    able = {name: target for name, target in targets.items() if len(target) and estimator.metric.flaw(target) is None}
    try:
        return estimator.fit_many(features, able, groups) if able else {}  # type: ignore[arg-type]  # stored, where it streams
    except CannotFitError:
        return {}


def _mixed(probe: Probe, features: Features, rows: Tensor, target: Tensor, classes: Tensor, seen: int) -> Tensor:
    """The probability of the label of each of some rows [n]."""
    parts = [probe.log_probabilities(features[part]) for part in rows.split(CHUNK)]
    held = [part for part in parts if part is not None]
    if len(held) < len(parts):
        raise TypeError(f"{type(probe).__name__} gives no probabilities, which a code length needs")
    own = target[rows]
    column = torch.searchsorted(probe.classes, own).clamp(max=len(probe.classes) - 1)
    known = probe.classes[column] == own
    likely = torch.cat(held).double().exp().gather(1, column[:, None])[:, 0] * known
    return (seen * likely + 1) / (seen + len(classes))
