"""What activations and states say of the next token, were they read by the model's own unembedding."""

from __future__ import annotations

from .probe.lenses.fitters import LensFitter, LogitLens, ShortcutLens, TunedLens
from .probe.lenses.lens import Lens
from .probe.lenses.scores import LensReading, LensScores, read_with_lens, score_lenses
from .probe.lenses.states import StateReading, read_states

__all__ = [
    "Lens",
    "LensFitter",
    "LensReading",
    "LensScores",
    "LogitLens",
    "ShortcutLens",
    "StateReading",
    "TunedLens",
    "read_states",
    "read_with_lens",
    "score_lenses",
]
