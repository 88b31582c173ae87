"""Where states and concepts lie: trajectories, directions, subspaces, and how alike two representations are."""

from __future__ import annotations

from .analyses.geometry.direction_map import DirectionCosines, DirectionProjection, direction_cosines, direction_projection
from .analyses.geometry.state_trajectory import StateTrajectory, state_trajectory
from .analyses.similarity.compare import RepresentationSimilarity, compare_representations
from .probe.subspaces.direction import Direction
from .probe.subspaces.subspace import Subspace

__all__ = [
    "Direction",
    "DirectionCosines",
    "DirectionProjection",
    "RepresentationSimilarity",
    "StateTrajectory",
    "Subspace",
    "compare_representations",
    "direction_cosines",
    "direction_projection",
    "state_trajectory",
]
