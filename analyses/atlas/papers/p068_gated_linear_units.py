"""P068: gated linear units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.channel_mixers import GEGLU, GLU, MLP, ReGLU, SwiGLU
from ....probe.channel_mixers import Bilinear as BilinearUnit
from ....probe.channel_mixers.gated_linear_units import BilinearMixer
from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig
from ....probe.runs.run import Run
from ....probe.runs.training import Training, task_loss
from ....probe.tasks.base import Task, generator_for
from ....probe.tasks.pair_products import PairProducts
from ....probe.tasks.word_problem import WordProblem
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals

WIDTH, EXPANSION = 96, 8 / 3
KINDS = (MLP(), GLU(), ReGLU(), GEGLU(), SwiGLU(), BilinearUnit())

PARAMETERS = "parameters of a gated mixer against the MLP's, share apart"
HIDDEN = "hidden units of a gated mixer over the MLP's"
SCALED = "{}: f(3 x) against 9 f(x)"
QUADRATIC = "bilinear: x^T B x against f(x)"
SYMMETRIC = "bilinear: B against its transpose"
SIZES = Axes("size of the output for a scaled input", "scale of the input", "|f(s x)| / |f(x)|", x_log=True, y_log=True)


class Bilinear(Claim, kind="p068-bilinear"):
    """The sizes of the mixers are counted, and the bilinear one is written as a quadratic form."""

    paper, scope = "P068", Scope.IDENTITY
    statement = (
        "With 2/3 of the hidden units a gated mixer has the MLP's parameters; the bilinear one is a quadratic form of its input."
    )
    measurements = (
        at_most(PARAMETERS, 0.02, "share"),
        equals(HIDDEN, 2 / 3, 0.01, "ratio"),
        at_most(SCALED.format("bilinear"), 1e-12),
        at_most(QUADRATIC, 1e-5),
        at_most(SYMMETRIC, 1e-12),
        at_least(SCALED.format("swiglu"), 0.05, "relative error"),
    )
    panels = (SIZES,)

    @torch.no_grad()
    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
        hidden = {one.kind: one.hidden_size(WIDTH, EXPANSION) for one in KINDS}
        mixers = {one.kind: one.build(WIDTH, hidden[one.kind], generator).double() for one in KINDS}
        counts = {name: sum(parameter.numel() for parameter in mixer.parameters()) for name, mixer in mixers.items()}
        x, bilinear = draw(20, WIDTH), mixers["bilinear"]
        assert isinstance(bilinear, BilinearMixer)
        output, tensor = bilinear(x), bilinear.interactions()
        found = Findings(
            {
                PARAMETERS: max(abs(count / counts["mlp"] - 1) for count in counts.values()),
                HIDDEN: hidden["swiglu"] / hidden["mlp"],
                SCALED.format("bilinear"): difference(bilinear(3 * x), 9 * output),
                SCALED.format("swiglu"): difference(mixers["swiglu"](3 * x), 9 * mixers["swiglu"](x)),
                QUADRATIC: difference(torch.einsum("ni,kij,nj->nk", x, tensor, x), output),
                SYMMETRIC: difference(tensor.mT, tensor),
            }
        )
        scales = torch.linspace(0.1, 4, 40, dtype=torch.float64)
        for name, mixer in mixers.items():
            sizes = [float(mixer(scale * x).norm() / mixer(x).norm()) for scale in scales]
            found.curves[SIZES.title, name] = (scales.tolist(), sizes)
        return found


LOSS = "{}: held-out loss"
MORE = "held-out loss, {} less the MLP"
COMPARED = (MLP(), GEGLU(), SwiGLU())


@dataclass(frozen=True)
class Improvement(Claim, kind="p068-improvement"):
    """Models with gated channel mixers are compared with one that has none."""

    seeds: tuple[int, ...] = fresh_seeds(10)
    """On seeds 0 to 2 the losses lay so far apart that about eight seeds settle whether they differ."""
    training: Training = Training(steps=300, batch=64, length=16, learning_rate=3e-3)
    """Each model is trained with these settings."""
    task: Task = WordProblem("S3")
    """This is the task that the models learn."""
    width: int = 32
    """The residual stream has this many channels."""
    sequences: int = 256
    """The loss is measured on this many test sequences."""

    paper, scope = "P068", Scope.TRAINED
    statement = (
        "At equal parameters and steps, a model whose channel mixers are GEGLU or SwiGLU reaches no higher loss than one with "
        "the MLP of ReLU units."
    )
    measurements = tuple(at_most(MORE.format(one.kind), 0.0, "nats") for one in COMPARED[1:])
    note = "On the word problem of S3, at a size far below the paper's language models."

    def small(self) -> Self:
        """On products of two inputs, where the gate tells within tens of steps."""
        return replace(self, training=replace(self.training, steps=60, batch=32, length=8), width=16, task=PairProducts())

    def experiment(self, seed: int, run: Run) -> Findings:
        batch = self.task.batch(self.sequences, self.training.length, "test", generator_for(seed, 1))
        loss = {}
        for one in COMPARED:
            mixer = DeltaNet(heads=2, householders=2, short_convolution=0)
            config = ModelConfig(self.task.vocabulary, self.width, 1, mixer, channel_mixer=one, expansion=EXPANSION, seed=seed)
            config = replace(config, inputs=self.task.inputs)
            model, _ = run.train(f"seed{seed}-{one.kind}", config, self.task, self.training, seed)
            with torch.no_grad():
                loss[one.kind] = float(task_loss(model(batch.tokens), batch))
        found = Findings({MORE.format(one.kind): loss[one.kind] - loss["mlp"] for one in COMPARED[1:]})
        for name, value in loss.items():
            found.put(LOSS.format(name), value, "nats")
        return found
