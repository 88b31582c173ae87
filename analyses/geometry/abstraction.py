"""How abstract the code of a label is: whether it is the same in every condition (Bernardi et al. 2020, Cell 183, 954).

A condition is whatever else varies: another label, a context. Features are [N, D], a label has two values, a condition any
number. Samples without a label or a condition (-100, or nan) are left out.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...probe.captures.capture import labelled
from ...probe.estimators.estimator import Estimator
from ...probe.estimators.logistic import Logistic
from ...probe.estimators.standardisation import finite_features
from ...probe.statistics.groups import sources_of


def parallelism(features: Tensor, label: Tensor, condition: Tensor) -> float:
    """The mean cosine, over pairs of conditions, of the differences of means that the label makes in each.

    It is 1 where the label moves the activations in one direction in all, and near 0 where it does in another in each.

    Raises ValueError where there is one condition, or where a condition lacks one of the label's two values.
    """
    held, present, conditions = _checked(features, label, condition)
    features, condition = features[held], condition[held]
    moves = torch.stack(
        [
            features[(condition == one) & present].double().mean(0) - features[(condition == one) & ~present].double().mean(0)
            for one in conditions
        ]
    )
    units = normalize(moves, dim=1)
    return float(torch.stack([units[a] @ units[b] for a, b in combinations(range(len(units)), 2)]).mean())


def cross_condition_score(
    features: Tensor, label: Tensor, condition: Tensor, *, estimator: Estimator | None = None, groups: Tensor | None = None
) -> float:
    """The mean accuracy of probes of a label in a condition that they were not fitted to, each condition left out in turn.

    estimator: of the probes, which take the score that it scores by; logistic when None. groups: [N], the source of each sample.
    Raises ValueError as `parallelism` does.
    """
    held, present, conditions = _checked(features, label, condition)
    fitting = estimator or Logistic(penalties=(1e-2,))
    sources = sources_of(groups, len(features))[held]
    features, condition = features[held], condition[held]
    scores = []
    for one in conditions:
        out = condition == one
        probe = fitting.fit(features[~out], present[~out].long(), sources[~out])
        truth = present[out].long()
        scores.append(fitting.metric.score(probe.predict(features[out]), truth, fitting.metric.baseline(truth)))
    return float(torch.tensor(scores).mean())


def _checked(features: Tensor, label: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which samples have a label and a condition, [N]; where of those the label has the larger of its values; the conditions."""
    if not len(features) == len(label) == len(condition):
        raise ValueError(f"{len(features)} samples have {len(label)} labels and {len(condition)} conditions; give one of each")
    held = labelled(label) & labelled(condition)
    finite_features(features[held])
    label, condition = label[held], condition[held]
    values, conditions = label.unique(), condition.unique()
    if len(values) != 2 or len(conditions) < 2:
        raise ValueError(
            "a label of two values and two conditions at least are needed; got values "
            f"{values.tolist()} and conditions {conditions.tolist()}"
        )
    present = label == values[1]
    for one in conditions:
        if len(present[condition == one].unique()) < 2:
            raise ValueError(f"condition {one.item()} has one value of the label alone; its difference cannot be measured")
    return held, present, conditions
