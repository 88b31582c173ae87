"""P196: spectral bottleneck in deep networks of sines, and noise that opens it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import log10
from typing import Self

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...lazy.sine_network import SineNetwork, spectral_centroid
from ...ntk.empirical_ntk import empirical_ntk
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least

WIDTH, DEPTH, NOISES = 48, 3, (0.0, 200.0, 1000.0)

STALLS = "error of the plain network over the target's variance, its decimal logarithm"
GAIN = "error of the plain network over that with noise, its decimal logarithm"
RISE = "mean frequency of the leading eigenvectors of the tangent kernel, most noise over none"
STEP = "least rise of that frequency from one noise to the next"
ERRORS = Axes("error in training", "step", "over the target's variance", y_log=True)


@dataclass(frozen=True)
class SpectralBottleneck(Claim, kind="p196-sines"):
    """Sine networks fit noise of high frequencies over an interval, with and without noise on their first weights."""

    seeds: tuple[int, ...] = tuple(range(8, 13))
    """These seeds are others than 0 to 7, on which the settings were tried out and the spread was seen."""
    points: int = 1024
    """The target is given at this many points."""
    steps: int = 600
    """Training takes this many steps of Adam."""

    paper, scope = "P196", Scope.TRAINED
    statement = (
        "A network of sines is slow to fit a target of high frequencies alone; noise on its first weights raises the frequencies "
        "of its tangent kernel's eigenvectors, and it fits far better in as many steps."
    )
    measurements = (
        at_least(STALLS, -2.0, "orders of magnitude"),
        at_least(GAIN, 1.0, "orders of magnitude"),
        at_least(RISE, 1.5, "ratio"),
        at_least(STEP, 1.0, "ratio"),
    )
    panels = (ERRORS,)
    note = "One coordinate, a few hundred points; sound and images are not measured. Noise is set by hand, not by the centroid."

    def small(self) -> Self:
        return replace(self, points=768, steps=300)

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        x = torch.linspace(-1, 1, self.points, dtype=torch.float64)[:, None]
        target = high_frequencies(self.points, seed)
        ends, frequencies = {}, []
        for noise in NOISES:
            network = self._network(noise, seed)
            frequencies.append(leading_frequency(empirical_ntk(network, x)))
            if noise in (NOISES[0], NOISES[-1]):
                errors = self._errors(network, x, target)
                ends[noise] = errors[-1]
                found.curves[ERRORS.title, f"noise {noise:g}"] = (range(1, len(errors) + 1), errors)
        found.numbers = {
            STALLS: log10(ends[NOISES[0]]),
            GAIN: log10(ends[NOISES[0]] / ends[NOISES[-1]]),
            RISE: frequencies[-1] / frequencies[0],
            STEP: min(later / earlier for earlier, later in pairwise(frequencies)),
        }
        return found

    def _network(self, noise: float, seed: int) -> SineNetwork:
        generator = torch.Generator().manual_seed(seed)
        network = SineNetwork(1, WIDTH, DEPTH, generator)
        return network.add_noise_(noise, 0.5, generator) if noise else network

    def _errors(self, network: SineNetwork, x: Tensor, target: Tensor) -> list[float]:
        optimizer, errors = torch.optim.Adam(network.parameters(), lr=1e-3), []
        for _ in range(self.steps):
            optimizer.zero_grad()
            loss = (network(x) - target).square().mean()
            errors.append(float(loss.detach() / target.var()))
            loss.backward()
            optimizer.step()
        return errors


def high_frequencies(points: int, seed: int) -> Tensor:
    """Random phases in the upper half of the frequencies that the points hold, of unit variance: [points, 1]."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.zeros(points // 2 + 1, dtype=torch.complex128)
    band = slice(points // 4, points * 2 // 5)
    phases = 2 * torch.pi * torch.rand(len(spectrum[band]), generator=generator, dtype=torch.float64)
    spectrum[band] = torch.polar(torch.ones_like(phases), phases)
    signal: Tensor = torch.fft.irfft(spectrum, points)[:, None]
    return signal / float(signal.std())


def leading_frequency(kernel: Tensor, count: int = 20) -> float:
    """The mean over the leading eigenvectors of each one's spectral centroid, in cycles over the interval."""
    vectors = torch.linalg.eigh(kernel).eigenvectors.flip(1)[:, :count]
    return sum(spectral_centroid(vector) for vector in vectors.T) / count
