"""P268: words in groups, their tensors' ranks, and grokking."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ....probe.runs.run import Run
from ....probe.tasks.word_problem import multiplication
from ...automata.groups import characters, representation
from ...studies.findings import Findings
from ..agreement import difference, seeded
from ..claim import Claim
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
