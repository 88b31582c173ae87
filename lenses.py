"""What activations and states say of the next token, what layers are for, and how far a model has moved."""

from __future__ import annotations

from .analyses.behaviour.depth_use import depth_use
from .analyses.behaviour.induction import induction_scores
from .analyses.behaviour.logit_correlation import logit_correlation
from .analyses.behaviour.results.depth_use import DepthUse
from .analyses.behaviour.results.induction import InductionScores
from .analyses.behaviour.results.logit_correlation import LogitCorrelation
from .analyses.similarity.model_difference import model_difference
from .analyses.similarity.results.model_difference import ModelDifference
from .probe.lenses.fitters import LensFitter, LogitLens, ShortcutLens, TunedLens
from .probe.lenses.lens import Lens
from .probe.lenses.results.scores import LensReading, LensScores
from .probe.lenses.results.states import StateReading
from .probe.lenses.scores import read_with_lens, score_lenses
from .probe.lenses.states import read_states

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
