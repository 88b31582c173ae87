"""The form in which probes answer to held-out samples: a class or a number, or a score of each class, as the metric takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..captures.stored import CHUNK, Features
from ..statistics.metrics import Metric, class_shares
from .estimator import Estimator, K, Probe, ScoredProbe, predicted


@dataclass(frozen=True)
class AnswerForm:
    """The form of answers to one target, of probes and of what is known without them.

    metric: what the answers are scored by. values: the C classes that training and held-out samples have, ascending; they count
    where the metric takes a score of each.
    """

    metric: Metric
    values: Tensor

    def answers(self, probe: Probe, features: Features, rows: Tensor, seen: int) -> Tensor:
        """The answers of a probe that was fitted to `seen` samples: [n], or the scores [n, C] of the classes.

        A class that has not come up among these samples has the probability 1 / (seen + C), and the lowest score there is.
        """
        if not self.metric.by_class:
            return predicted(probe, features, rows)
        found = torch.cat([self._scores(probe, features[part]) for part in rows.split(CHUNK)])
        least = -torch.tensor(float(seen + len(self.values))).log() if self.metric.needs_probabilities else found.min()
        spread = found.new_full((len(found), len(self.values)), float(least))
        spread[:, torch.searchsorted(self.values, probe.classes)] = found
        return spread

    def truths(self, labels: Tensor) -> Tensor:
        """Labels [n] as the metric takes them."""
        return torch.searchsorted(self.values, labels) if self.metric.by_class else labels

    def baselines(self, targets: Tensor | None, count: int) -> Tensor:
        """What to answer to `count` samples, knowing the training targets alone: [count] or [count, C]; nan without any."""
        if targets is None or not len(targets):
            return torch.full((count, len(self.values)) if self.metric.by_class else (count,), float("nan"), dtype=torch.float64)
        if self.metric.by_class:
            return class_shares(targets, self.values).expand(count, -1)
        return torch.full((count,), self.metric.baseline(targets), dtype=torch.float64)

    def _scores(self, probe: Probe, features: Tensor) -> Tensor:
        scores = probe.log_probabilities(features)
        if scores is None and not self.metric.needs_probabilities and isinstance(probe, ScoredProbe):
            scores = probe.scores(features)
        if scores is None:
            raise TypeError(f"{type(probe).__name__} gives no scores of classes, which the {self.metric.name} needs")
        return scores.double()


def cross_answers(
    estimator: Estimator,
    features: Features,
    targets: Mapping[K, Tensor],
    groups: Tensor,
    folds: Sequence[Tensor],
    forms: Mapping[K, AnswerForm],
) -> dict[K, Tensor]:
    """What probes answer to samples that they have not seen: name -> [N], or [N, C]. Arguments: as of `Estimator.cross_predict`.

    Where the other folds have one value alone, the answer is what is known without activations.
    """
    if not any(own.metric.by_class for own in forms.values()):
        return estimator.cross_predict(features, targets, groups, folds)  # type: ignore[arg-type]  # where it streams
    found = {name: forms[name].baselines(None, len(groups)) for name in targets}
    for rows, seen, probes in estimator.fit_without(features, targets, groups, folds):
        for name, own in found.items():
            if name in probes:
                own[rows] = forms[name].answers(probes[name], features, rows, len(seen[name]))
            else:
                own[rows] = forms[name].baselines(seen[name], len(rows))
    return found
