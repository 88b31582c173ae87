"""Directions and subspaces of concepts: found, measured, taken out, steered along, and tested against random ones."""

from __future__ import annotations

from .analyses.behaviour.causal_check import causal_check
from .analyses.behaviour.direction_choice import direction_choice
from .analyses.behaviour.erasure_effect import erasure_effect
from .analyses.behaviour.measures import concept_score, token_accuracy, token_loss
from .analyses.behaviour.patching_sweep import patching_sweep
from .analyses.behaviour.probe_comparison import ProbedPlace, probe_comparison
from .analyses.behaviour.results.causal_check import CausalCheck
from .analyses.behaviour.results.direction_choice import DirectionChoice
from .analyses.behaviour.results.erasure_effect import ErasureEffect
from .analyses.behaviour.results.patching_sweep import PatchingSweep
from .analyses.behaviour.results.probe_comparison import ProbeComparison
from .analyses.behaviour.results.unlearning_layers import UnlearningLayers
from .analyses.behaviour.unlearning import Unlearned, unlearn, unlearning_layers
from .analyses.geometry.direction_map import direction_cosines, direction_projection
from .analyses.geometry.results.direction_map import DirectionCosines, DirectionProjection
from .probe.erasure.adversarial_projection import Rlace
from .probe.erasure.eraser import Eraser, EraserFitter, MomentFitter
from .probe.erasure.labelled_erasers import LabelledEraser, LabelledEraserFitter, OracleLeace, QuadraticLeace
from .probe.erasure.linear_erasers import Leace, MeanProjection
from .probe.erasure.moments import Moments
from .probe.erasure.nullspace_projection import Inlp
from .probe.erasure.weight_projection import project_module, project_weights
from .probe.interventions.steering_vectors import BiasSteering, SteeringVectors
from .probe.subspaces.causal_inner_product import CausalInnerProduct
from .probe.subspaces.direction import Direction
from .probe.subspaces.finders import (
    DirectionFinder,
    KMeans,
    MeanDifference,
    PrincipalComponent,
    Reading,
    WhitenedMeanDifference,
    direction_interval,
)
from .probe.subspaces.ideal_words import IdealWords
from .probe.subspaces.intervals import DirectionInterval, SubspaceInterval
from .probe.subspaces.jacobians import Jacobians, activation_jacobians
from .probe.subspaces.linear_relation import LinearRelation, concept_interval
from .probe.subspaces.probe_direction import probe_direction
from .probe.subspaces.subspace import Subspace
from .probe.subspaces.subspace_finders import (
    PartialLeastSquares,
    PrincipalComponents,
    ProjectAndProbe,
    SubspaceFinder,
    subspace_interval,
)

__all__ = [
    "BiasSteering",
    "CausalCheck",
    "CausalInnerProduct",
    "Direction",
    "DirectionChoice",
    "DirectionCosines",
    "DirectionFinder",
    "DirectionInterval",
    "DirectionProjection",
    "Eraser",
    "EraserFitter",
    "ErasureEffect",
    "IdealWords",
    "Inlp",
    "Jacobians",
    "KMeans",
    "LabelledEraser",
    "LabelledEraserFitter",
    "Leace",
    "LinearRelation",
    "MeanDifference",
    "MeanProjection",
    "MomentFitter",
    "Moments",
    "OracleLeace",
    "PartialLeastSquares",
    "PatchingSweep",
    "PrincipalComponent",
    "PrincipalComponents",
    "ProbeComparison",
    "ProbedPlace",
    "ProjectAndProbe",
    "QuadraticLeace",
    "Reading",
    "Rlace",
    "SteeringVectors",
    "Subspace",
    "SubspaceFinder",
    "SubspaceInterval",
    "Unlearned",
    "UnlearningLayers",
    "WhitenedMeanDifference",
    "activation_jacobians",
    "causal_check",
    "concept_interval",
    "concept_score",
    "direction_choice",
    "direction_cosines",
    "direction_interval",
    "direction_projection",
    "erasure_effect",
    "patching_sweep",
    "probe_comparison",
    "probe_direction",
    "project_module",
    "project_weights",
    "subspace_interval",
    "token_accuracy",
    "token_loss",
    "unlearn",
    "unlearning_layers",
]
