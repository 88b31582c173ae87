"""P198: demystifying the neural tangent kernel, its metrics and label-gradient alignment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch.nn.functional import cross_entropy

from ....probe.mixers import Attention, DeltaNet, Elman, MixerConfig
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import label_gradient_alignment
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
    note = "The rank correlation with final accuracies over architectures is not measured."

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
