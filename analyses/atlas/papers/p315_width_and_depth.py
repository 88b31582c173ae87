"""P315: width and depth limits commute in residual networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from scipy import stats
from torch import Tensor, nn

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork, ResidualNetwork
from ...infinite_width.network import InfiniteNetwork, infinite_width_kernels
from ...infinite_width.nonlinearities import ReLU
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most

GRID, DRAWS = ((128, 8), (48, 48), (16, 128)), 40

RECURSION = "relative difference of the finite-depth recursion from exp(1/2) at depth 4096"
SIZE = "largest difference of the mean size from the recursion, in standard errors"
COUPLING = "largest difference of the mean covariance from the recursion, in standard errors"
STREAMS = Axes("size of the stream", "depth", "mean square", x_log=True)


def streams(width: int, depth: int, count: int, generator: torch.Generator) -> Tensor:
    """The products Y . Y' / n of the last streams of drawn networks, for two orthogonal inputs: [count, 2, 2]."""
    x = math.sqrt(2) * torch.eye(2, dtype=torch.float64)
    found = []
    for _ in range(count):
        model = ResidualNetwork(depth=depth, weight_variance=1.0).finite((2,), width, generator)
        kept: list[Tensor] = []
        reader = model.get_submodule("read")
        assert isinstance(reader, nn.Module)
        handle = reader.register_forward_pre_hook(lambda module, args, kept=kept: kept.append(args[0]))
        with torch.no_grad():
            model(x)
        handle.remove()
        found.append(kept[0] @ kept[0].T / width)
    return torch.stack(found)


class Commute(Claim, kind="p315-commute"):
    """Residual networks of several shapes, with branches of 1 / sqrt(depth)."""

    paper, scope = "P315", Scope.IDENTITY
    statement = (
        "With residual branches of 1 / sqrt(L) the covariance of the streams is that of the recursion whatever the order of "
        "width and depth, and the size tends to exp(1/2)."
    )
    measurements = (at_most(RECURSION, 1e-3), at_most(SIZE, 4.0, "standard errors"), at_most(COUPLING, 4.0, "standard errors"))
    panels = (STREAMS,)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        x = math.sqrt(2) * torch.eye(2, dtype=torch.float64)
        deep = infinite_width_kernels(ResidualNetwork(depth=4096, weight_variance=1.0), x).nngp
        size, coupling, depths, means = 0.0, 0.0, [], []
        for width, depth in GRID:
            drawn = streams(width, depth, DRAWS, generator)
            theory = infinite_width_kernels(ResidualNetwork(depth=depth, weight_variance=1.0), x).nngp
            apart = (drawn.mean(0) - theory).abs() / (drawn.std(0) / DRAWS**0.5)
            size, coupling = max(size, float(apart.diagonal().max())), max(coupling, float(apart[0, 1]))
            depths.append(depth)
            means.append(float(drawn.mean(0).diagonal().mean()))
        found = Findings({RECURSION: abs(float(deep[0, 0]) / math.exp(0.5) - 1), SIZE: size, COUPLING: coupling})
        found.curves[STREAMS.title, "drawn networks"] = (depths, means)
        found.curves[STREAMS.title, "exp(1/2)"] = (depths, [math.exp(0.5)] * len(depths))
        return found


EQUAL, CRITICAL = 48, 1.63  # units and layers; of sqrt(n) sup |F_n - F|, which 1 sample in 100 exceeds (Kolmogorov)

NORMAL = "distance of the pre-activations of residual networks from the normal law of the recursion's variance, sqrt(n) sup"
SKEWED = "the same of networks without a stream, in which width and depth do not commute"
QUANTILES = Axes("pre-activations where width equals depth", "quantile of the normal law", "quantile of drawn networks")


@dataclass(frozen=True)
class NormalWhereDeep(Claim, kind="p315-normal"):
    """Networks as deep as they are wide, each drawn anew for one pre-activation."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the number of draws was tried out."""
    draws: int = 400
    """So many networks of either kind are drawn."""

    paper, scope = "P315", Scope.IDENTITY
    statement = (
        "The pre-activations of a residual network with branches of 1 / sqrt(L) are normal even where it is as deep as wide, "
        "with the recursion's variance; those of a product of as many layers are far from any normal law of theirs."
    )
    measurements = (at_most(NORMAL, CRITICAL, "distance"), at_least(SKEWED, 2 * CRITICAL, "distance"))
    panels = (QUANTILES,)

    def small(self) -> Self:
        return replace(self, draws=300)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, found = torch.Generator().manual_seed(seed), Findings()
        x = torch.tensor([[math.sqrt(2), 0.0]], dtype=torch.float64)
        families: dict[str, InfiniteNetwork] = {
            NORMAL: ResidualNetwork(depth=EQUAL, weight_variance=1.0),
            SKEWED: DenseNetwork(depth=EQUAL, nonlinearity=ReLU(), weight_variance=2.0),
        }
        ranks = torch.special.ndtri((torch.arange(self.draws) + 0.5) / self.draws).tolist()
        for what, family in families.items():
            with torch.no_grad():
                drawn = torch.cat([family.finite((2,), EQUAL, generator)(x)[0] for _ in range(self.draws)])
            scaled = (drawn / infinite_width_kernels(family, x).nngp[0, 0].sqrt()).sort().values
            found.numbers[what] = self.draws**0.5 * float(stats.kstest(scaled.numpy(), "norm").statistic)
            found.curves[QUANTILES.title, family.kind] = (ranks, scaled.tolist())
        return found
