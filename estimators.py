"""Probes, their controls and their statistics."""

from __future__ import annotations

from .probe.errors import CannotFitError
from .probe.estimators.attention_pooled import AttentionPooled
from .probe.estimators.bilinear_state import BilinearState
from .probe.estimators.classifier import Classifier
from .probe.estimators.estimator import Estimator, LinearProbe, Probe, ScoredProbe
from .probe.estimators.fitted_probes import FittedProbe, FittedProbes, SharedGroupsError
from .probe.estimators.k_sparse import KSparse
from .probe.estimators.linear_discriminant import LinearDiscriminant
from .probe.estimators.linear_svm import LinearSVM
from .probe.estimators.logistic import Logistic
from .probe.estimators.naive_bayes import NaiveBayes
from .probe.estimators.nearest_centroid import NearestCentroid
from .probe.estimators.on_principal_components import OnPrincipalComponents
from .probe.estimators.penalised import PathEstimator, PenalisedEstimator
from .probe.estimators.perceptron import Perceptron, PerceptronRegression
from .probe.estimators.probe_sweep import ProbeSweep
from .probe.estimators.results.sample_curve import SampleCurve
from .probe.estimators.ridge import Ridge, RidgeRegression
from .probe.estimators.sample_curve import sample_curve
from .probe.estimators.scikit_learn import ProbeClassifier, ProbeRegressor
from .probe.estimators.soft_nearest_neighbour import SoftNearestNeighbour
from .probe.statistics.calibration import Calibration
from .probe.statistics.controls import ControlTask
from .probe.statistics.corrections import false_discovery_rates
from .probe.statistics.evidence import ProbingTask
from .probe.statistics.groups import group_bootstrap, group_folds, group_shuffles
from .probe.statistics.metrics import Accuracy, AreaUnderCurve, BalancedAccuracy, LogLoss, Metric, RSquared
from .probe.statistics.scores import ProbeScores

__all__ = [
    "Accuracy",
    "AreaUnderCurve",
    "AttentionPooled",
    "BalancedAccuracy",
    "BilinearState",
    "Calibration",
    "CannotFitError",
    "Classifier",
    "ControlTask",
    "Estimator",
    "FittedProbe",
    "FittedProbes",
    "KSparse",
    "LinearDiscriminant",
    "LinearProbe",
    "LinearSVM",
    "LogLoss",
    "Logistic",
    "Metric",
    "NaiveBayes",
    "NearestCentroid",
    "OnPrincipalComponents",
    "PathEstimator",
    "PenalisedEstimator",
    "Perceptron",
    "PerceptronRegression",
    "Probe",
    "ProbeClassifier",
    "ProbeRegressor",
    "ProbeScores",
    "ProbeSweep",
    "ProbingTask",
    "RSquared",
    "Ridge",
    "RidgeRegression",
    "SampleCurve",
    "ScoredProbe",
    "SharedGroupsError",
    "SoftNearestNeighbour",
    "false_discovery_rates",
    "group_bootstrap",
    "group_folds",
    "group_shuffles",
    "sample_curve",
]
