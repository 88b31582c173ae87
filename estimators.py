"""Probes, their controls, and the statistics they are reported with."""

from __future__ import annotations

from .probe.estimators.linear_models import LinearModels, LogisticModels, RidgeModels
from .probe.estimators.probe_sweep import FittedProbe, FittedProbes, ProbeSweep, Target
from .probe.statistics.controls import control_labels, group_bootstrap, group_folds, majority_accuracy
from .probe.statistics.scores import ProbeScores

__all__ = [
    "FittedProbe",
    "FittedProbes",
    "LinearModels",
    "LogisticModels",
    "ProbeScores",
    "ProbeSweep",
    "RidgeModels",
    "Target",
    "control_labels",
    "group_bootstrap",
    "group_folds",
    "majority_accuracy",
]
