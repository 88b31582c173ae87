"""Where states and concepts lie: trajectories, directions, automata and groups, and how alike two representations are."""

from __future__ import annotations

from .analyses.automata.allowed_and_realised import AllowedAndRealised, allowed_and_realised
from .analyses.automata.allowed_groups import GroupVerdict, group_verdict
from .analyses.automata.automaton import Automaton, group_automaton
from .analyses.automata.expressivity import Expressivity, expressivity
from .analyses.automata.homomorphism import Homomorphism, homomorphism
from .analyses.automata.recovered_automaton import RecoveredAutomaton, recovered_automaton
from .analyses.automata.requirements import TrackingRequirements, tracking_requirements
from .analyses.behaviour.causal_check import CausalCheck, causal_check
from .analyses.behaviour.erasure_effect import ErasureEffect, erasure_effect
from .analyses.behaviour.measures import concept_score, token_accuracy, token_loss
from .analyses.geometry.direction_map import DirectionCosines, DirectionProjection, direction_cosines, direction_projection
from .analyses.geometry.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from .analyses.geometry.recall_by_age import RecallByAge, recall_by_age
from .analyses.geometry.recall_capacity import RecallCapacity, WriteRule, recall_capacity
from .analyses.geometry.singular_values import SingularValues, singular_values
from .analyses.geometry.state_geometry import StateGeometry, state_geometry
from .analyses.geometry.state_projection import StateProjection, state_projection
from .analyses.geometry.state_trajectory import StateTrajectory, state_trajectory
from .analyses.similarity.compare import RepresentationSimilarity, compare_representations
from .analyses.similarity.sliced_wasserstein import sliced_wasserstein
from .probe.subspaces.direction import Direction
from .probe.subspaces.subspace import Subspace

__all__ = [
    "AllowedAndRealised",
    "Automaton",
    "CausalCheck",
    "Direction",
    "DirectionCosines",
    "DirectionProjection",
    "ErasureEffect",
    "Expressivity",
    "GroupVerdict",
    "Homomorphism",
    "IntrinsicDimension",
    "RecallByAge",
    "RecallCapacity",
    "RecoveredAutomaton",
    "RepresentationSimilarity",
    "SingularValues",
    "StateGeometry",
    "StateProjection",
    "StateTrajectory",
    "Subspace",
    "TrackingRequirements",
    "WriteRule",
    "allowed_and_realised",
    "causal_check",
    "compare_representations",
    "concept_score",
    "direction_cosines",
    "direction_projection",
    "erasure_effect",
    "expressivity",
    "group_automaton",
    "group_verdict",
    "homomorphism",
    "intrinsic_dimension",
    "recall_by_age",
    "recall_capacity",
    "recovered_automaton",
    "singular_values",
    "sliced_wasserstein",
    "state_geometry",
    "state_projection",
    "state_trajectory",
    "token_accuracy",
    "token_loss",
    "tracking_requirements",
]
