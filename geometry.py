"""Where states lie: trajectories, dimensions, automata and groups, and how alike two representations are."""

from __future__ import annotations

from .analyses.automata.allowed_and_realised import allowed_and_realised
from .analyses.automata.allowed_groups import GroupVerdict, group_verdict
from .analyses.automata.automaton import Automaton, group_automaton
from .analyses.automata.element_spectra import element_spectra
from .analyses.automata.expressivity import expressivity
from .analyses.automata.homomorphism import homomorphism
from .analyses.automata.recovered_automaton import recovered_automaton
from .analyses.automata.requirements import tracking_requirements
from .analyses.automata.results.allowed_and_realised import AllowedAndRealised
from .analyses.automata.results.element_spectra import ElementSpectra
from .analyses.automata.results.expressivity import Expressivity
from .analyses.automata.results.homomorphism import Homomorphism
from .analyses.automata.results.recovered_automaton import RecoveredAutomaton
from .analyses.automata.results.requirements import TrackingRequirements
from .analyses.geometry.abstraction import cross_condition_score, parallelism
from .analyses.geometry.intrinsic_dimension import intrinsic_dimension
from .analyses.geometry.latent_concepts import LatentConcepts, concept_alignment, steering_vectors, train_embeddings
from .analyses.geometry.manifold_clusters import ManifoldClusters, doubly_stochastic, manifold_clusters, rate_reduction
from .analyses.geometry.model_rules import write_rules
from .analyses.geometry.recall_by_age import recall_by_age
from .analyses.geometry.recall_capacity import recall_capacity
from .analyses.geometry.results.intrinsic_dimension import IntrinsicDimension
from .analyses.geometry.results.recall_by_age import RecallByAge
from .analyses.geometry.results.recall_capacity import RecallCapacity
from .analyses.geometry.results.singular_values import SingularValues
from .analyses.geometry.results.state_geometry import StateGeometry
from .analyses.geometry.results.state_projection import StateProjection
from .analyses.geometry.results.state_trajectory import StateTrajectory
from .analyses.geometry.singular_values import singular_values
from .analyses.geometry.state_geometry import state_geometry
from .analyses.geometry.state_projection import state_projection
from .analyses.geometry.state_trajectory import state_trajectory
from .analyses.geometry.tangent_fields import TangentField, TangentSpace, tangent_field, tangent_space
from .analyses.geometry.write_rule import WriteRule
from .analyses.similarity.compare import compare_representations
from .analyses.similarity.linear_map import LinearMap
from .analyses.similarity.results.compare import RepresentationSimilarity
from .analyses.similarity.sliced_wasserstein import sliced_wasserstein

__all__ = [
    "AllowedAndRealised",
    "Automaton",
    "ElementSpectra",
    "Expressivity",
    "GroupVerdict",
    "Homomorphism",
    "IntrinsicDimension",
    "LatentConcepts",
    "LinearMap",
    "ManifoldClusters",
    "RecallByAge",
    "RecallCapacity",
    "RecoveredAutomaton",
    "RepresentationSimilarity",
    "SingularValues",
    "StateGeometry",
    "StateProjection",
    "StateTrajectory",
    "TangentField",
    "TangentSpace",
    "TrackingRequirements",
    "WriteRule",
    "allowed_and_realised",
    "compare_representations",
    "concept_alignment",
    "cross_condition_score",
    "doubly_stochastic",
    "element_spectra",
    "expressivity",
    "group_automaton",
    "group_verdict",
    "homomorphism",
    "intrinsic_dimension",
    "manifold_clusters",
    "parallelism",
    "rate_reduction",
    "recall_by_age",
    "recall_capacity",
    "recovered_automaton",
    "singular_values",
    "sliced_wasserstein",
    "state_geometry",
    "state_projection",
    "state_trajectory",
    "steering_vectors",
    "tangent_field",
    "tangent_space",
    "tracking_requirements",
    "train_embeddings",
    "write_rules",
]
