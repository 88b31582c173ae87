"""P304: sparse averaging by one attention head."""

from __future__ import annotations

import torch

from ....probe.runs.run import Run
from ....probe.tasks.base import generator_for
from ....probe.tasks.matching import Match
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

SPARSITY, TRIES = 3, 200
LENGTHS = (64, 256, 1024)


def experiment(seed: int) -> Findings:
    """Random sign keys in m dimensions, and for an index set the least vector whose products with its keys are 1: where all other
    products stay below 1, a head with a large enough scale attends to the set alone and evenly.
    """
    generator = torch.Generator().manual_seed(seed)
    found = Findings()
    widths = (8, 16, 24, 32, 48, 64, 96)
    for length in LENGTHS:
        shares = [_solved(length, width, generator) for width in widths]
        found.curves["index sets that one head averages exactly", f"N = {length}"] = (widths, shares)
        for width in (32, 64):
            found.numbers[f"N = {length}: share of index sets solved at m = {width}"] = shares[widths.index(width)]
    found.numbers["averages at m = 64, N = 64: largest error at scale 400"] = _average_error(64, 64, 400.0, generator)
    for order in (2, 3):
        match = Match(order=order, modulus=101).batch(50, 30, "train", generator_for(seed)).targets.double().mean()
        found.numbers[f"Match{order}: share of positions that match"] = float(match)
    return found


def _query(keys: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The least w with w . k_i = 1 for the chosen keys."""
    own = keys[chosen]
    weights: torch.Tensor = torch.linalg.solve(own @ own.T, torch.ones(len(own), dtype=keys.dtype))
    return own.T @ weights


def _solved(length: int, width: int, generator: torch.Generator) -> float:
    right = 0
    for _ in range(TRIES):
        keys = _signs(length, width, generator)
        chosen = torch.randperm(length, generator=generator)[:SPARSITY]
        if torch.linalg.matrix_rank(keys[chosen]) < SPARSITY:
            continue
        products = keys @ _query(keys, chosen)
        others = torch.ones(length, dtype=torch.bool)
        others[chosen] = False
        right += bool((products[others] < 1 - 1e-9).all())
    return right / TRIES


def _signs(length: int, width: int, generator: torch.Generator) -> torch.Tensor:
    return (2 * torch.randint(0, 2, (length, width), generator=generator) - 1).double()


def _average_error(length: int, width: int, scale: float, generator: torch.Generator) -> float:
    worst = 0.0
    for _ in range(20):
        keys, values = _signs(length, width, generator), torch.randn(length, 4, generator=generator).double()
        chosen = torch.randperm(length, generator=generator)[:SPARSITY]
        weights = (scale * (keys @ _query(keys, chosen))).softmax(0)
        worst = max(worst, float((weights @ values - values[chosen].mean(0)).abs().max()))
    return worst


class Averages(Claim, kind="p304-averages"):
    """The equations."""

    paper, scope = "P304", Scope.IDENTITY
    statement = (
        "One head with random sign keys averages any q = 3 of N values, in a number of dimensions that grows as "
        "log N: m = 64 is enough for nearly all sets up to N = 1024, and m = 32 is not."
    )
    measurements = (
        *(at_least(f"N = {length}: share of index sets solved at m = 64", 0.97) for length in LENGTHS),
        equals("N = 64: share of index sets solved at m = 32", 0.96, 0.05),
        equals("N = 256: share of index sets solved at m = 32", 0.84, 0.08),
        equals("N = 1024: share of index sets solved at m = 32", 0.61, 0.1),
        at_most("averages at m = 64, N = 64: largest error at scale 400", 1e-6),
    )
    panels = (Axes("index sets that one head averages exactly", "dimensions of the keys", "share of random sets"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
