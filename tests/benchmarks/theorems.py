"""What theorems say of trained and of wide networks, at the sizes at which the numbers are known.

`python tests/benchmarks/theorems.py [NAME ...]` runs the checks at these sizes, all or some, and prints what they find as rows of
a table; together they take two minutes of one thread. Tests call the same functions, with less where these take long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.network import infinite_width_kernels
from statescope.analyses.infinite_width.nonlinearities import Tanh
from statescope.analyses.lazy.lazy_or_rich import Data, lazy_or_rich
from statescope.analyses.lazy.parametrised import half_squared_error
from statescope.analyses.lazy.results.lazy_or_rich import LazyOrRich
from statescope.analyses.lazy.step_sizes import hessian_sharpness, stability_threshold
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.probe.models.parametrisation import maximal_update

DOUBLE = torch.float64
OCTAVES = (64, 128, 256, 512, 1024, 2048)


def exponent(widths: Sequence[int], values: Sequence[float]) -> float:
    """The slope on logarithmic axes."""
    return float(np.polyfit(np.log(widths), np.log(values), 1)[0])


def tangent_kernel_errors(depth: int, widths: Sequence[int], draws: int) -> list[float]:
    """How far tangent kernels of ReLU networks at their start lie from that of infinite width: relative, the mean over draws.

    Six inputs of norm one in ten dimensions; variances of He's initialisation, no biases.
    """
    x = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    x = x / x.norm(dim=1, keepdim=True)
    network = DenseNetwork(depth)
    truth, errors = infinite_width_kernels(network, x).ntk, []
    for width in widths:
        drawn = (network.finite((10,), width, torch.Generator().manual_seed(seed)) for seed in range(draws))
        kernels = (empirical_ntk(model, x, method="structured") for model in drawn)
        errors.append(float(np.mean([float((kernel - truth).norm() / truth.norm()) for kernel in kernels])))
    return errors


def lazy_in_width(widths: Sequence[int], seeds: Sequence[int]) -> LazyOrRich:
    """Three layers of weights with tanh between, in the NTK parametrisation: 1500 steps on 20 samples of a product of inputs.

    The weight variance is 2: at 1 the products are so hard to say that narrow networks' kernels change by more than their own
    size, which is no longer a power of the width.
    """
    family = DenseNetwork(2, Tanh(), weight_variance=2.0)
    networks = [
        (width, 1.0, seed, family.finite((5,), width, torch.Generator().manual_seed(seed)))
        for width, seed in product(widths, seeds)
    ]
    x = torch.randn(70, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    y = x[:, :1] * x[:, 1:2]
    return lazy_or_rich(networks, Data(x[:20], y[:20], x[20:], y[20:]), steps=1500)


def late_sharpness(rate: float, steps: int, seed: int = 0) -> float:
    """The median sharpness in the last third of full-batch descent, over 2 / rate: 1 at the edge of stability.

    500 digits, two hidden layers of 64 tanh units, half the squared error of one-hot classes.
    """
    digits = load_digits()
    x = torch.tensor(digits.data[:500] / 16, dtype=torch.float32)
    x, y = x - x.mean(0), one_hot(torch.tensor(digits.target[:500]), 10).float()
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    optimizer, found = torch.optim.SGD(network.parameters(), lr=rate), []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        half_squared_error(network(x), y).backward()
        optimizer.step()
        if step >= 2 * steps / 3 and step % 100 == 0:
            found.append(hessian_sharpness(network, half_squared_error, x, y, tolerance=1e-2))
    return float(np.median(found)) / stability_threshold(rate)


def dense(width: int, readout: float) -> nn.Sequential:
    """Three hidden ReLU layers, of weights as He draws them; the last ones are multiplied by `readout`."""
    sizes = [64, width, width, width, 10]
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
    with torch.no_grad():
        layers[-1].weight.mul_(readout)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU(), layers[3])


def by_adam(maximal: bool, width: int, rate: float, steps: int, seed: int) -> tuple[list[float], float]:
    """Train on 200 normal inputs and the largest of ten linear maps: mean absolute activations of the four layers, and the loss.

    maximal: whether weights are in the maximal update parametrisation, of base width 64, with a readout that starts at zero; or
    in the standard one.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 64, generator=generator)
    labels = (x @ torch.randn(64, 10, generator=generator)).argmax(1)
    torch.manual_seed(seed)
    network = dense(width, readout=0.0 if maximal else 1.0)
    if maximal:
        maximal_update(network, dense(64, readout=0.0))
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network(x), labels).backward()
        optimizer.step()
    sizes: list[float] = []
    with torch.no_grad():
        for place, layer in enumerate(network):
            x = layer(x)
            if isinstance(layer, nn.ReLU) or place == len(network) - 1:
                sizes.append(float(x.abs().mean()))
        return sizes, float(cross_entropy(x, labels))


def coordinates(maximal: bool, widths: Sequence[int], rate: float, steps: int, seeds: Sequence[int]) -> list[float]:
    """The exponents of the width in the mean absolute activations of the four layers after these steps of Adam."""
    means = [np.mean([by_adam(maximal, width, rate, steps, seed)[0] for seed in seeds], 0) for width in widths]
    return [exponent(widths, [own[layer] for own in means]) for layer in range(4)]


def finite_width() -> Iterator[str]:
    for depth in (1, 2):
        errors = tangent_kernel_errors(depth, OCTAVES, 20)
        yield f"{depth} hidden: errors {numbers(errors)}, exponent {exponent(OCTAVES, errors):.2f}"


def lazy() -> Iterator[str]:
    found = lazy_in_width((32, 64, 128, 256, 512), range(3))
    for column in ("departure", "kernel_change"):
        means = found.table.groupby("width")[column].mean().tolist()
        yield f"{column}: {numbers(means)}, exponent {found.slope(column, 'width'):.2f}"


def edge() -> Iterator[str]:
    for rate in (0.4, 0.2, 0.1):
        yield f"rate {rate}: {numbers([late_sharpness(rate, 4000, seed) for seed in range(3)])} of 2 / rate"


def maximal_updates() -> Iterator[str]:
    for maximal, name in ((False, "standard"), (True, "muP")):
        for steps in (1, 4):
            yield f"{name}, exponents after {steps} steps: {numbers(coordinates(maximal, OCTAVES, 0.01, steps, range(3)))}"
        losses = [np.mean([by_adam(maximal, width, 2**-4, 20, seed)[1] for seed in range(3)]) for width in (64, 256, 1024)]
        yield f"{name}, losses after 20 steps at the rate 1/16, widths 64, 256, 1024: {numbers(losses)}"


def numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "finite width": finite_width,
    "lazy": lazy,
    "edge": edge,
    "maximal update": maximal_updates,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CHECKS:
        start = time.process_time()
        for found in CHECKS[name]():
            print(f"| {name} | {found} |", flush=True)
        print(f"{name}: {time.process_time() - start:.0f} s")
