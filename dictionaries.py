"""Sparse dictionaries of activations and states: autoencoders and transcoders, trained, scored, spliced in, read and written."""

from __future__ import annotations

from .probe.dictionaries.dictionary import Dictionary
from .probe.dictionaries.results.scores import DictionaryScores
from .probe.dictionaries.saelens import read_saelens, write_saelens
from .probe.dictionaries.scores import score_dictionaries
from .probe.dictionaries.trainers import L1, BatchTopK, DictionaryTrainer, JumpReLU, TopK

__all__ = [
    "L1",
    "BatchTopK",
    "Dictionary",
    "DictionaryScores",
    "DictionaryTrainer",
    "JumpReLU",
    "TopK",
    "read_saelens",
    "score_dictionaries",
    "write_saelens",
]
