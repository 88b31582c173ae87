"""P268: words in groups, their tensors' ranks, and grokking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ....probe.runs.run import Run
from ....probe.tasks.word_problem import multiplication
from ...automata.groups import characters, irreducible_projections, representation
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals

FEWER, STARTS, SWEEPS = 8, 10, 300  # terms, and what alternating least squares may try
STRASSEN = (  # rows of the matrices that A, B and the product are read with, entries 11, 12, 21, 22
    ((1, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 0), (0, 0, 0, 1), (1, 1, 0, 0), (-1, 0, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, -1), (-1, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1)),
    ((1, 0, 0, 1), (0, 0, 1, -1), (0, 1, 0, 1), (1, 0, 1, 0), (-1, 1, 0, 0), (0, 0, 0, 1), (1, 0, 0, 0)),
)

TERMS = "terms that S3's multiplication takes, one each for its two signs and seven for its plane"
REBUILT = "error of the multiplication tensor of S3 from them"
FEW = f"error of the best {FEWER} terms that alternating least squares finds"


class Rank(Claim, kind="p268-tensor-rank"):
    """The multiplication tensor, 1 where c = a b, is cut along the irreducible representations of the group."""

    paper, scope = "P268", Scope.CONSTRUCTION
    statement = (
        "The multiplication tensor of S3 is a sum of 1 + 1 + 7 products: one for each representation of dimension 1, and for the "
        "plane as many as Strassen's algorithm takes for a product of 2 x 2 matrices; with 8 it is not reached."
    )
    measurements = (equals(TERMS, 9, unit="terms"), at_most(REBUILT, 1e-12), at_least(FEW, 0.1, "relative error"))

    def experiment(self, seed: int, run: Run) -> Findings:
        tensor = one_hot(multiplication("S3")).double()
        factors = _factors()
        rebuilt = torch.einsum("ar,br,cr->abc", *factors)
        return Findings(
            {TERMS: float(factors[0].shape[1]), REBUILT: difference(rebuilt, tensor), FEW: _best_of_fewer(tensor, seed)}
        )


def _factors() -> list[Tensor]:
    """The tensor's factors [6, 9]: sum_rho (d_rho / |G|) tr(rho(a) rho(b) rho(c)^T) is 1 where a b = c, and 0 elsewhere."""
    plane, characters_of = representation("S3"), characters("S3")
    signs = [characters_of[name].real for name in characters_of if float(characters_of[name][0].real) < 1.5]
    scales = torch.tensor([1.0] * len(signs) + [2.0] * 7, dtype=torch.float64) / len(plane)
    factors = []
    for rows in STRASSEN:
        read = torch.einsum("rx,gx->gr", torch.tensor(rows, dtype=torch.float64), plane.flatten(1))
        factors.append(torch.cat([torch.stack(signs, 1), read], 1))
    return [scales * factors[0], *factors[1:]]


def _best_of_fewer(tensor: Tensor, seed: int) -> float:
    draw, best, size = seeded(seed), float("inf"), len(tensor)
    unfolded = [tensor.movedim(axis, 0).flatten(1) for axis in range(3)]
    for _ in range(STARTS):
        factors = [draw(size, FEWER) for _ in range(3)]
        for _ in range(SWEEPS):
            for axis, flat in enumerate(unfolded):
                first, second = (factors[other] for other in range(3) if other != axis)
                pairs = torch.einsum("ar,br->abr", first, second).flatten(0, 1)
                ridge = 1e-9 * torch.eye(FEWER, dtype=torch.float64)
                factors[axis] = torch.linalg.solve(pairs.mT @ pairs + ridge, pairs.mT @ flat.mT).mT
        best = min(best, difference(torch.einsum("ar,br,cr->abc", *factors), tensor))
    return best


MOST = 0.9  # share of pairs right from which they count as learned
LEARNED, GENERALISED = "share of pairs right that it was trained on, at the end", "share of the other pairs right, at the end"
DELAY = "steps until it is right on others over those until it is right on its own"
BEFORE, AFTER = (f"share of a unit's power in the representation it sees most, {when}" for when in ("at the start", "at the end"))
CURVE = Axes("share of pairs right", "step", "share")


@dataclass(frozen=True)
class Grokking(Claim, kind="p268-grokking"):
    """A network of two layers, W_out relu(W_a e_a + W_b e_b), learns the product of two elements from a share of the pairs."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    group: str = "S4"
    """The elements are of this group."""
    share: float = 0.8
    """The network is trained on this share of all pairs."""
    width: int = 256
    """The network has so many hidden units."""
    steps: int = 3000
    """It takes so many steps of AdamW, each on all of its pairs."""
    learning_rate: float = 1e-2
    """Each step goes this far."""
    weight_decay: float = 1.0
    """The weights shrink at this rate."""

    paper, scope = "P268", Scope.TRAINED
    statement = (
        "A network of two layers learns a group's multiplication from a share of the pairs, and gets the others right long after "
        "its own; in the end each hidden unit sees its elements through few of the irreducible representations."
    )
    measurements = (
        at_least(LEARNED, 0.99, "share"),
        at_least(GENERALISED, 0.9, "share"),
        at_least(DELAY, 5.0, "ratio"),
        at_least(AFTER, 0.8, "share"),
    )
    panels = (CURVE,)
    note = "Words other than the product are not measured."

    def small(self) -> Self:
        return replace(self, steps=2000)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        table = multiplication(self.group)
        every = torch.arange(len(table))
        pairs, products = torch.cartesian_prod(every, every), table.flatten()
        order = torch.randperm(len(pairs), generator=generator)
        own, others = order[: round(self.share * len(pairs))], order[round(self.share * len(pairs)) :]
        network, found = _TwoLayers(len(table), self.width, generator), Findings()
        found.put(BEFORE, _specialised(network, self.group), "share")
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        steps, right = list[int](), {"its own": list[float](), "others": list[float]()}
        for step in range(1, self.steps + 1):
            optimizer.zero_grad()
            cross_entropy(network(pairs[own]), products[own]).backward()
            optimizer.step()
            if step % 20 == 0:
                steps.append(step)
                for name, some in (("its own", own), ("others", others)):
                    right[name].append(_share_right(network, pairs[some], products[some]))
        first = {
            name: next((s for s, share in zip(steps, shares, strict=True) if share >= MOST), self.steps)
            for name, shares in right.items()
        }
        found.numbers |= {
            LEARNED: right["its own"][-1],
            GENERALISED: right["others"][-1],
            DELAY: first["others"] / first["its own"],
        }
        found.put(AFTER, _specialised(network, self.group), "share")
        for name, shares in right.items():
            found.curves[CURVE.title, name] = (steps, shares)
        return found


class _TwoLayers(nn.Module):
    def __init__(self, order: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second, self.out = (
            nn.Parameter(torch.randn(*size, generator=generator) / size[0] ** 0.5)
            for size in ((order, width), (order, width), (width, order))
        )

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.first[pairs[:, 0]] + self.second[pairs[:, 1]]).relu() @ self.out


@torch.no_grad()
def _share_right(network: _TwoLayers, pairs: Tensor, products: Tensor) -> float:
    return float((network(pairs).argmax(-1) == products).double().mean())


@torch.no_grad()
def _specialised(network: _TwoLayers, group: str) -> float:
    """The largest share that one representation has of a hidden unit's weights, a function on the group; the mean over units, by
    their power. What does not depend on the element is no part of it.
    """
    weights = torch.cat([network.first, network.second], 1).double()
    weights = weights - weights.mean(0)
    projections = irreducible_projections(group).values()
    powers = torch.stack([(projection @ weights.to(projection)).abs().square().sum(0) for projection in projections])
    return float(powers.amax(0).sum() / weights.square().sum())
