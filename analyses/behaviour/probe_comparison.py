"""Where a label is read better: two activations, or two models, compared on the same held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ...probe.captures.capture import Capture, labelled
from ...probe.estimators.fitted_probes import EVERYWHERE, FittedProbes
from ...probe.statistics.evidence import ProbingTask
from ...probe.statistics.groups import group_bootstrap
from .results.probe_comparison import ProbeComparison


@dataclass(frozen=True)
class ProbedPlace:
    """Activations of a model; of these hooks the one counts whose probe did best in the validation of its training samples."""

    name: str
    model: str
    hooks: tuple[str, ...]


def probe_comparison(
    fitted: Mapping[str, FittedProbes],
    captures: Mapping[str, Capture],
    pairs: Sequence[tuple[ProbedPlace, ProbedPlace]],
    labels: Sequence[str],
    *,
    seed: int,
) -> ProbeComparison:
    """Compare the probes of pairs of places on each label that both have a probe of, by their estimator's metric.

    fitted, captures: by model; all captures hold the same sequences and positions. Probes serve all positions.

    Raises ValueError for captures of other samples, and where no pair has a label in common.
    """
    rows = []
    for pair in pairs:
        samples = [captures[place.model] for place in pair]
        if not torch.equal(samples[0].tokens, samples[1].tokens) or samples[0].positions != samples[1].positions:
            raise ValueError(f"{pair[0].name} and {pair[1].name} were captured on other samples; a comparison needs the same")
        for label in labels:
            chosen = [chosen_hook(fitted[place.model], place.hooks, label) for place in pair]
            if chosen[0] is None or chosen[1] is None:
                continue
            hooks = [hook for hook in chosen if hook is not None]
            rows.append(_row(fitted, samples, pair, hooks, label, seed))
    if not rows:
        raise ValueError("no label has a probe at both places of a pair")
    return ProbeComparison(pd.DataFrame(rows, columns=list(ProbeComparison.columns)), {"interval": "95%, bootstrap over sources"})


def chosen_hook(probes: FittedProbes, hooks: Sequence[str], label: str) -> str | None:
    """The hook whose probe of a label did best in the validation of its training samples; None where there is no probe of it."""
    there = [hook for hook in hooks if probes.has(hook, label)]
    return max(there, key=lambda hook: probes.probe(hook, label).validation, default=None)


def _row(
    fitted: Mapping[str, FittedProbes],
    samples: Sequence[Capture],
    pair: tuple[ProbedPlace, ProbedPlace],
    hooks: Sequence[str],
    label: str,
    seed: int,
) -> tuple[object, ...]:
    metric = fitted[pair[0].model].sweep.estimator.metric
    truth = samples[0].label(label)
    held = labelled(truth)
    cells = [fitted[place.model].by_task[ProbingTask(hook, EVERYWHERE, label)] for place, hook in zip(pair, hooks, strict=True)]
    parts: list[tuple[Tensor, Tensor]] = []
    for place, capture, hook, cell in zip(pair, samples, hooks, cells, strict=True):
        guess = fitted[place.model].predict(capture, hook, label)[held]
        parts.append(metric.parts(guess, truth[held], metric.baseline(cell.truth)))
    (first, weights), (second, _) = parts
    scores = [metric.of_ratio(float(part.sum() / weights.sum())) for part in (first, second)]
    sign = 1.0 if metric.of_ratio(1.0) > metric.of_ratio(0.0) else -1.0  # R2 falls with its ratio
    apart, groups = sign * (first - second).numpy(), samples[0].sample_groups[held].numpy()
    low, high = group_bootstrap(apart, groups, 1000, seed, weights.numpy())
    names = [value for place, hook, cell in zip(pair, hooks, cells, strict=True) for value in (place.name, hook, cell.features)]
    return (label, *names, metric.name, *scores, scores[0] - scores[1], low, high, len(apart))
