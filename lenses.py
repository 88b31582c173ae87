"""What activations and states say of the next token, what layers are for, and how far a model has moved."""

from __future__ import annotations

from .analyses.behaviour.depth_use import DepthUse, depth_use
from .analyses.behaviour.induction import InductionScores, induction_scores
from .analyses.behaviour.logit_correlation import LogitCorrelation, logit_correlation
from .analyses.similarity.model_difference import ModelDifference, model_difference
from .probe.lenses.fitters import LensFitter, LogitLens, ShortcutLens, TunedLens
from .probe.lenses.lens import Lens
from .probe.lenses.scores import LensReading, LensScores, read_with_lens, score_lenses
from .probe.lenses.states import StateReading, read_states

__all__ = [
    "DepthUse",
    "InductionScores",
    "Lens",
    "LensFitter",
    "LensReading",
    "LensScores",
    "LogitCorrelation",
    "LogitLens",
    "ModelDifference",
    "ShortcutLens",
    "StateReading",
    "TunedLens",
    "depth_use",
    "induction_scores",
    "logit_correlation",
    "model_difference",
    "read_states",
    "read_with_lens",
    "score_lenses",
]
