"""Probes, their controls and statistics; subspaces, and erasers of concepts."""

from __future__ import annotations

from .probe.erasure.eraser import Eraser, EraserFitter
from .probe.erasure.linear_erasers import Leace, MeanProjection
from .probe.erasure.moments import Moments
from .probe.estimators.estimator import CannotFitError, Estimator, LinearProbe, Probe
from .probe.estimators.fitted_probes import Cell, FittedCell, FittedProbes, SharedGroupsError
from .probe.estimators.logistic import Logistic
from .probe.estimators.probe_sweep import ProbeSweep
from .probe.estimators.ridge import Ridge, RidgeRegression
from .probe.statistics.controls import ControlTask
from .probe.statistics.corrections import false_discovery_rates
from .probe.statistics.groups import group_bootstrap, group_folds, group_shuffles
from .probe.statistics.metrics import Accuracy, Metric, RSquared
from .probe.statistics.scores import ProbeScores
from .probe.subspaces.subspace import Subspace

__all__ = [
    "Accuracy",
    "CannotFitError",
    "Cell",
    "ControlTask",
    "Eraser",
    "EraserFitter",
    "Estimator",
    "FittedCell",
    "FittedProbes",
    "Leace",
    "LinearProbe",
    "Logistic",
    "MeanProjection",
    "Metric",
    "Moments",
    "Probe",
    "ProbeScores",
    "ProbeSweep",
    "RSquared",
    "Ridge",
    "RidgeRegression",
    "SharedGroupsError",
    "Subspace",
    "false_discovery_rates",
    "group_bootstrap",
    "group_folds",
    "group_shuffles",
]
