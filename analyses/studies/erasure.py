"""Ways of erasing a concept, side by side in a model of Python source.

LEACE, the mean projection, R-LACE and INLP take "inside a comment" out of the residual stream. Fresh probes say what is left
there and further up, a network with a hidden layer what linear erasure leaves, and the loss what it costs, beside random
projections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from ...probe.captures.collect import capture
from ...probe.configuration import Count, NotEmpty, Range
from ...probe.erasure.adversarial_projection import Rlace
from ...probe.erasure.eraser import Eraser, EraserFitter
from ...probe.erasure.linear_erasers import Leace, MeanProjection
from ...probe.erasure.nullspace_projection import Inlp
from ...probe.estimators.estimator import Estimator
from ...probe.estimators.logistic import Logistic
from ...probe.estimators.perceptron import Perceptron
from ...probe.mixers import GatedDeltaNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.source_code import SourceCode
from ..behaviour.erasure_effect import erasure_effect
from ..behaviour.results.erasure_effect import ErasureEffect
from ..behaviour.results.training_curve import TrainingCurve

INLP = Inlp(rounds=8, estimator=Logistic(penalties=(1e-2,), balanced=True))


@dataclass(frozen=True)
class ErasureStudy(Study, kind="erasure"):
    """Erasers of one concept in the residual stream behind the first layer of Gated DeltaNet."""

    task: SourceCode = field(default_factory=SourceCode)
    """The model learns this source code."""
    training: Training = field(
        default_factory=lambda: Training(steps=500, batch=8, length=128, learning_rate=4e-3, checkpoint_every=50)
    )
    width: Count = 64
    """The residual stream has this many channels."""
    label: str = "in_comment"
    """This label of the source code is erased."""
    windows: Annotated[int, Range(least=8)] = 160
    """Erasers and probes are fitted on this many held-out windows, and tested on as many others."""
    positions: Count = 12
    """This many bytes of each window are taken as samples."""
    erasers: Annotated[tuple[EraserFitter, ...], NotEmpty()] = (Leace(), MeanProjection(), Rlace(steps=40), INLP)
    """These erasers stand side by side."""
    estimators: Annotated[tuple[Estimator, ...], NotEmpty()] = (
        Logistic(balanced=True),
        Perceptron(penalties=(1e-1,), balanced=True),
    )
    """These probes are fitted afresh to what is left."""

    question: ClassVar[str] = "What is left of a concept after LEACE, R-LACE and INLP, and what does each cost the model?"
    time: ClassVar[str] = "2 min"

    def models(self) -> dict[str, ModelConfig]:
        mixer = GatedDeltaNet(heads=2, key_size=16, value_size=16)
        return {"model": ModelConfig(self.task.vocabulary, self.width, 2, mixer, seed=self.seed)}

    def execute(self, run: Run) -> None:
        with run.stage("reading the corpus"):
            _ = self.task.corpus
        model, history = run.train("model", self.models()["model"], self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories={"Gated DeltaNet": history})
        run.compute("erasure_effect", self._erase, model=model)

    def _erase(self, model: Model) -> ErasureEffect:
        hook = "blocks.0.hook_resid_post"
        fitted = self._batches("validation", 0)
        kept = capture(model, fitted, [hook], positions=self._at)
        features, labels = kept.features(hook), kept.label(self.label)
        erasers: dict[str, Eraser] = {
            fitter.kind: fitter.fit(features, labels, hook=hook, name=self.label) for fitter in self.erasers
        }
        return erasure_effect(
            model,
            erasers,
            fitted,
            self._batches("test", 100),
            self.label,
            hooks=["blocks.1.hook_resid_post"],
            positions=self._at,
            estimators=self.estimators,
            name="Gated DeltaNet",
            seed=self.seed,
        )

    @property
    def _at(self) -> list[int]:
        """The bytes of a window that are samples, at equal distances."""
        step = max(1, self.training.length // self.positions)
        return list(range(step - 1, self.training.length, step))

    def _batches(self, split: Split, stream: int) -> list[Batch]:
        sizes = [min(16, self.windows - begin) for begin in range(0, self.windows, 16)]
        return [
            self.task.batch(size, self.training.length, split, generator_for(self.seed, 700 + stream + index), labels=True)
            for index, size in enumerate(sizes)
        ]
