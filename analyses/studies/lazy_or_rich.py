"""Lazy or rich: wide or strongly scaled networks train as their tangent kernel says, others learn features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...probe.configuration import Count, Positive
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ..infinite_width.dense import DenseNetwork
from ..infinite_width.nonlinearities import Erf
from ..kernel_regression.gradient_descent import largest_stable_step
from ..lazy.centred_training import train_centred
from ..lazy.lazy_or_rich import Data, lazy_or_rich
from ..lazy.results.lazy_or_rich import LazyOrRich
from ..ntk.empirical_ntk import TangentKernel, by_layer, tangent_kernel
from ..ntk.motion import tangent_motion
from ..ntk.results.motion import TangentMotion


@dataclass(frozen=True)
class LazyOrRichStudy(Study, kind="lazy-or-rich"):
    """Networks in the NTK parametrisation, of several widths at one scale and several scales at one width, learn one function."""

    widths: tuple[Count, ...] = (32, 64, 128, 256)
    """Networks have this many units a layer, at the least of the scales."""
    scales: tuple[Positive, ...] = (0.5, 1.0, 4.0, 16.0)
    """The outputs are multiplied by these numbers, at the least of the widths."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A network is drawn for each of these seeds."""
    depth: Count = 2
    """Each network has this many hidden layers."""
    features: Count = 8
    """Inputs have this many numbers, of which the function looks at one direction."""
    samples: Count = 48
    """The networks are trained on this many samples."""
    test_samples: Count = 128
    """Errors are measured on this many others."""
    steps: Count = 600
    """Training takes this many steps of full-batch gradient descent."""

    question: ClassVar[str] = "Does a network train as its tangent kernel predicts, or does the kernel turn to the task?"
    time: ClassVar[str] = "1 min"

    def execute(self, run: Run) -> None:
        run.compute("lazy_or_rich", self._compare)
        run.compute("tangent_motion", self._motion)

    def _data(self) -> Data:
        """Inputs on a sphere; the target is a cubic of one direction, of unit variance or near it."""
        generator = torch.Generator().manual_seed(self.seed)
        inputs = torch.randn(self.samples + self.test_samples, self.features, generator=generator, dtype=torch.float64)
        inputs = inputs / inputs.norm(dim=1, keepdim=True) * self.features**0.5
        along = inputs[:, :1]
        targets = (along.pow(3) - 3 * along) / 6**0.5
        cut = self.samples
        return Data(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])

    def _network(self, width: int, seed: int) -> torch.nn.Module:
        family = DenseNetwork(depth=self.depth, nonlinearity=Erf(), weight_variance=1.5, bias_variance=0.1)
        return family.finite((self.features,), width, torch.Generator().manual_seed(1000 * self.seed + seed))

    def _compare(self) -> LazyOrRich:
        pairs = [(width, min(self.scales)) for width in self.widths]
        pairs += [(min(self.widths), scale) for scale in self.scales if scale != min(self.scales)]
        networks = [(width, scale, seed, self._network(width, seed)) for width, scale in pairs for seed in self.seeds]
        return lazy_or_rich(networks, self._data(), steps=self.steps)

    def _motion(self) -> TangentMotion:
        """The kernel at eight moments of training, by layer, at the least and the largest scale."""
        data, kernels = self._data(), dict[tuple[str, int], TangentKernel]()
        moments = sorted({0, *torch.linspace(0, self.steps, 8).long().tolist()})
        for scale in dict.fromkeys((min(self.scales), max(self.scales))):
            model = self._network(min(self.widths), self.seeds[0])
            rate = 0.5 * largest_stable_step(tangent_kernel(model, data.train).values)

            def observe(taken: int, name: str = f"scale {scale:g}", model: torch.nn.Module = model) -> None:
                kernels[name, taken] = tangent_kernel(model, data.train, group=by_layer)

            train_centred(model, data.train, data.targets, data.test, scale=scale, step=rate, times=moments, observe=observe)
        return tangent_motion(kernels, data.targets)
