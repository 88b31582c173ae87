"""Small models of reviews from templates, which claims on representations train and look into."""

from __future__ import annotations

from torch import Tensor

from ...probe.mixers import GatedDeltaNet, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.training import Training
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.reviews import DISLIKED, LIKED, Reviews

TASK = Reviews()
TRAINING = Training(steps=150, batch=16, length=32, learning_rate=1e-2)
MIXER = GatedDeltaNet(heads=2, key_size=8, value_size=8)


def reviewer(
    run: Run, label: str, seed: int, training: Training, *, layers: int = 2, width: int = 32, mixer: MixerConfig = MIXER
) -> Model:
    """Train a model in the claim's run, under a label that is its alone."""
    return run.train(label, ModelConfig(TASK.vocabulary, width, layers, mixer, seed=seed), TASK, training, seed)[0]


def reviews(seed: int, stream: int, sequences: int, *, split: Split = "test", length: int = 32) -> Batch:
    """Draw held-out sequences with their labels; each stream of a seed is another draw."""
    return TASK.batch(sequences, length, split, generator_for(seed, 600 + stream), labels=True)


def verdicts_right(logits: Tensor, batch: Batch) -> float:
    """The share of verdicts whose side is the likelier one, where the next word is a verdict of a sentence that was seen."""
    liked, disliked = (logits[..., TASK.tokens_of(words)].logsumexp(-1) for words in (LIKED, DISLIKED))
    counted = (batch.labels["before_verdict"] == 1) & (batch.labels["sentiment"] > 0)
    return float(((liked > disliked) == (batch.labels["sentiment"] == 2))[counted].double().mean())
