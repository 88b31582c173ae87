"""The direction that a fitted probe reads along, and that of its control task, which is what a causal check is held against."""

from __future__ import annotations

import torch

from ..captures.stored import in_memory, subset
from ..estimators.estimator import LinearProbe, Probe
from ..estimators.fitted_probes import EVERYWHERE, FittedProbes
from ..statistics.evidence import ProbingTask
from .direction import Direction
from .sides import Side


def probe_direction(
    fitted: FittedProbes,
    hook: str,
    label: str,
    position: int = EVERYWHERE,
    *,
    value: int | None = None,
    control: bool = False,
    side: Side = "vector",
) -> Direction:
    """The direction along which a probe of a sweep tells a class from the others, in the activation's own units.

    value: the class; the larger one of two when None. control: of the probe of the control task instead, for
        `causal_check(..., control=...)`: what is as easily read from the tokens, and means nothing.

    Its scale is how far apart the means of the training samples with and without the class lie along it. Raises UnknownNameError
    for what was not probed, ValueError where no probe (or no control) could be fitted and for a class that there is not,
    TypeError for a probe that is not linear or answers numbers.
    """
    probe = fitted.probe(hook, label, position)
    task = ProbingTask(hook, position, label)
    own = fitted.by_task[task]
    found: Probe | None = own.control if control else probe
    truth = own.control_truth if control else own.truth
    if found is None or truth is None:
        raise ValueError(f"{label} at {hook} has no control task: {'; '.join(own.notes)}")
    if not isinstance(found, LinearProbe) or found.labels is None:
        raise TypeError(f"{fitted.sweep.estimator.kind} fits no linear probe of classes, which has a direction")
    classes = found.labels.tolist()
    if value is None and len(classes) > 2:
        raise ValueError(f"{label} has the classes {classes}; say by `value` which of them is the concept")
    if value is not None and value not in classes:
        raise ValueError(f"{label} has the classes {classes}, not {value}")
    number = len(classes) - 1 if value is None else classes.index(value)
    weights = found.weights.double()
    vector = weights[number] - torch.cat([weights[:number], weights[number + 1 :]]).mean(0)
    features = in_memory(subset(fitted.train.sample_features(hook), fitted.training_rows(task)))
    name = f"control of {label}" if control else label
    about = {"method": f"{fitted.sweep.estimator.kind} probe", "value": classes[number]}
    return Direction.along(vector, features, truth == classes[number], hook=hook, name=name, side=side, **about)
