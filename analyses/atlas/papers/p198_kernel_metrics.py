"""P198: demystifying the neural tangent kernel, its metrics and label-gradient alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import torch
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn.functional import cross_entropy

from ....probe.mixers import GRU, Attention, DeltaNet, Elman, LinearAttention, MixerConfig, RetNet
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import condition, label_gradient_alignment
from ...studies.findings import Axes, Findings
from ..agreement import difference
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

SYMBOLS, TOKENS, SAMPLES = 6, 8, 24

AGREE = "products with vectors against the gram matrix of whole Jacobians, the largest of three mixers"
POSITIVE = "least eigenvalue over the largest, of three mixers"
RISE = "rise of the alignment over training, the least of three mixers"
ALIGNMENT = Axes("label-gradient alignment", "step", "correlation")


@dataclass(frozen=True)
class KernelMetrics(Claim, kind="p198-alignment"):
    """A DeltaNet, softmax attention and an Elman cell learn to say a class from the first token of a sequence."""

    seeds: tuple[int, ...] = fresh_seeds(6)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    steps: int = 60
    """Each model takes this many steps of Adam."""

    paper, scope = "P198", Scope.TRAINED
    statement = (
        "The tangent kernel from products with vectors is that of the Jacobians and positive, and its alignment with the labels "
        "rises in the first steps of training."
    )
    measurements = (
        in_every_seed(at_most(AGREE, 1e-5)),
        in_every_seed(at_least(POSITIVE, -1e-9, "ratio")),
        at_least(RISE, 0.02, "correlation"),
    )
    panels = (ALIGNMENT,)

    def small(self) -> Self:
        return replace(self, steps=30)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, SYMBOLS, (SAMPLES, TOKENS), generator=generator)
        classes = tokens[:, 0] % 2
        apart, least, rises, found = 0.0, float("inf"), list[float](), Findings()
        mixers: dict[str, MixerConfig] = {
            "DeltaNet": DeltaNet(heads=2, short_convolution=0),
            "softmax attention": Attention(heads=2),
            "Elman": Elman(heads=1),
        }
        for name, mixer in mixers.items():
            model = Model(ModelConfig(SYMBOLS, 16, 1, mixer, seed=seed)).eval()
            first = empirical_ntk(model, tokens)
            values = torch.linalg.eigvalsh(first)
            few = tokens[:4]
            apart = max(
                apart, difference(empirical_ntk(model, few, method="ghost"), empirical_ntk(model, few, method="jacobian"))
            )
            least = min(least, float(values[0] / values[-1]))
            steps, alignments = [0], [label_gradient_alignment(first, classes)]
            optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
            for step in range(1, self.steps + 1):
                optimizer.zero_grad()
                cross_entropy(model(tokens)[:, -1], classes).backward()
                optimizer.step()
                if step % (self.steps // 3) == 0:
                    steps.append(step)
                    alignments.append(label_gradient_alignment(empirical_ntk(model, tokens), classes))
            rises.append(max(alignments[1:]) - alignments[0])
            found.curves[ALIGNMENT.title, name] = (steps, alignments)
        found.numbers = {AGREE: apart, POSITIVE: least, RISE: min(rises)}
        return found


HELD_OUT, AMONG = 512, 48

AFTER = "rank correlation of the final accuracy with the alignment after the first steps, over architectures"
BETTER = "the same, less that with the inverse condition number of the kernel at the start"
CHOOSING = Axes("which architectures will generalise", "label-gradient alignment after the first steps", "final accuracy")


@dataclass(frozen=True)
class KernelRanking(Claim, kind="p198-ranking"):
    """Models of one layer, of six mixers, one or four heads and two widths, learn whether the first two tokens' sum is even."""

    seeds: tuple[int, ...] = fresh_seeds(6)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    widths: tuple[int, ...] = (8, 16)
    """The residual streams have these numbers of channels."""
    samples: int = 256
    """Each model learns from this many sequences, all in each step of Adam."""
    steps: int = 200
    """Training takes this many steps."""
    few: int = 60
    """The alignment is that after this many steps."""

    paper, scope = "P198", Scope.TRAINED
    statement = (
        "The alignment of the tangent kernel with the labels after the first steps of training tells which architectures will "
        "generalise, and tells it better than the kernel's condition number at the start does."
    )
    measurements = (at_least(AFTER, 0.2, "rank correlation"), at_least(BETTER, 0.0, "rank correlation"))
    panels = (CHOOSING,)
    note = "Kendall's tau over 24 architectures of at most some thousand parameters; kernels are those of 48 training samples."

    def small(self) -> Self:
        return replace(self, widths=(16,), samples=128, steps=60, few=30)

    def experiment(self, seed: int, run: Run) -> Findings:
        tokens = distinct_sequences(self.samples + HELD_OUT, 5, seed)
        classes, rows = tokens[:, :2].sum(1) % 2, []
        kinds: tuple[Callable[..., MixerConfig], ...] = (DeltaNet, Attention, LinearAttention, RetNet, Elman, GRU)
        for make, heads, width in product(kinds, (1, 4), self.widths):
            mixer = DeltaNet(heads=heads, short_convolution=0) if make is DeltaNet else make(heads=heads)
            rows.append(self._trained(Model(ModelConfig(SYMBOLS, width, 1, mixer, seed=seed)).eval(), tokens, classes))
        start, alignments, accuracies = zip(*rows, strict=True)
        after = float(kendalltau(alignments, accuracies).statistic)
        found = Findings({AFTER: after, BETTER: after - float(kendalltau([1 / one for one in start], accuracies).statistic)})
        order = sorted(range(len(rows)), key=alignments.__getitem__)
        found.curves[CHOOSING.title, "architectures"] = ([alignments[i] for i in order], [accuracies[i] for i in order])
        return found

    def _trained(self, model: Model, tokens: Tensor, classes: Tensor) -> tuple[float, float, float]:
        """The condition number at the start, the alignment after the first steps, and the accuracy on sequences not seen."""
        few, known = tokens[:AMONG], classes[: self.samples]
        at_start, alignment = condition(torch.linalg.eigvalsh(empirical_ntk(model, few))), float("nan")
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for step in range(self.steps):
            if step == self.few:
                alignment = label_gradient_alignment(empirical_ntk(model, few), classes[:AMONG])
            optimizer.zero_grad()
            cross_entropy(model(tokens[: self.samples])[:, -1], known).backward()
            optimizer.step()
        with torch.no_grad():
            said = model(tokens[self.samples :])[:, -1].argmax(-1)
        return at_start, alignment, float((said == classes[self.samples :]).double().mean())


def distinct_sequences(count: int, length: int, seed: int) -> Tensor:
    """Sequences of tokens [count, length], no two of them the same."""
    drawn = torch.randperm(SYMBOLS**length, generator=torch.Generator().manual_seed(seed))[:count]
    return torch.stack([drawn // SYMBOLS**place % SYMBOLS for place in range(length)], 1)
