"""Probes, their controls and statistics; directions, subspaces, and erasers of concepts."""

from __future__ import annotations

from .probe.erasure.adversarial_projection import Rlace
from .probe.erasure.eraser import Eraser, EraserFitter, MomentFitter
from .probe.erasure.labelled_erasers import LabelledEraser, LabelledEraserFitter, OracleLeace, QuadraticLeace
from .probe.erasure.linear_erasers import Leace, MeanProjection
from .probe.erasure.moments import Moments
from .probe.erasure.nullspace_projection import Inlp
from .probe.estimators.attention_pooled import AttentionPooled
from .probe.estimators.bilinear_state import BilinearState
from .probe.estimators.classifier import Classifier
from .probe.estimators.estimator import CannotFitError, Estimator, LinearProbe, Probe, ScoredProbe
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
from .probe.subspaces.causal_inner_product import CausalInnerProduct
from .probe.subspaces.finders import (
    DirectionFinder,
    KMeans,
    MeanDifference,
    PrincipalComponent,
    Reading,
    WhitenedMeanDifference,
    direction_interval,
)
from .probe.subspaces.intervals import DirectionInterval
from .probe.subspaces.subspace import Subspace

__all__ = [
    "Accuracy",
    "AreaUnderCurve",
    "AttentionPooled",
    "BalancedAccuracy",
    "BilinearState",
    "Calibration",
    "CannotFitError",
    "CausalInnerProduct",
    "Classifier",
    "ControlTask",
    "DirectionFinder",
    "DirectionInterval",
    "Eraser",
    "EraserFitter",
    "Estimator",
    "FittedProbe",
    "FittedProbes",
    "Inlp",
    "KMeans",
    "KSparse",
    "LabelledEraser",
    "LabelledEraserFitter",
    "Leace",
    "LinearDiscriminant",
    "LinearProbe",
    "LinearSVM",
    "LogLoss",
    "Logistic",
    "MeanDifference",
    "MeanProjection",
    "Metric",
    "MomentFitter",
    "Moments",
    "NaiveBayes",
    "NearestCentroid",
    "OnPrincipalComponents",
    "OracleLeace",
    "PathEstimator",
    "PenalisedEstimator",
    "Perceptron",
    "PerceptronRegression",
    "PrincipalComponent",
    "Probe",
    "ProbeClassifier",
    "ProbeRegressor",
    "ProbeScores",
    "ProbeSweep",
    "ProbingTask",
    "QuadraticLeace",
    "RSquared",
    "Reading",
    "Ridge",
    "RidgeRegression",
    "Rlace",
    "SampleCurve",
    "ScoredProbe",
    "SharedGroupsError",
    "SoftNearestNeighbour",
    "Subspace",
    "WhitenedMeanDifference",
    "direction_interval",
    "false_discovery_rates",
    "group_bootstrap",
    "group_folds",
    "group_shuffles",
    "sample_curve",
]
