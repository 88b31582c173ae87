"""P304: sparse averaging by one attention head."""

from __future__ import annotations

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.tasks.base import generator_for
from ....probe.tasks.matching import Match
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..hooked import attention_reads
from ..measurement import Scope, at_least, at_most, equals

SPARSITY, TRIES, VALUES, SCALE = 3, 200, 4, 400.0
LENGTHS, WIDTHS = (64, 256, 1024), (8, 16, 24, 32, 48, 64, 96)
EXPECTED = {64: (0.96, 0.05), 256: (0.84, 0.08), 1024: (0.61, 0.1)}

SOLVED = "N = {}: share of index sets solved at m = {}"
ERROR = "m = 64, N = 64: largest error of what the attention mixer reads"
MATCHES = "Match{}: share of positions that match"
SETS = Axes("index sets that one head averages exactly", "dimensions of the keys", "share of random sets")


class Averages(Claim, kind="p304-averages"):
    """Random sign keys, and for an index set the least vector whose products with its keys are 1: where all other products stay
    below 1, a head with a large enough scale attends to the set alone and evenly.
    """

    paper, scope = "P304", Scope.CONSTRUCTION
    statement = (
        "One head with random sign keys averages any q = 3 of N values, in a number of dimensions that grows as log N: m = 64 is "
        "enough for nearly all sets up to N = 1024, and m = 32 is not."
    )
    measurements = (
        *(at_least(SOLVED.format(length, 64), 0.97) for length in LENGTHS),
        *(equals(SOLVED.format(length, 32), share, margin, "share") for length, (share, margin) in EXPECTED.items()),
        at_most(ERROR, 1e-6, "absolute error"),
    )
    panels = (SETS,)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, found = torch.Generator().manual_seed(seed), Findings()
        for length in LENGTHS:
            shares = [_solved(length, width, generator) for width in WIDTHS]
            found.curves[SETS.title, f"N = {length}"] = (WIDTHS, shares)
            found.numbers |= {SOLVED.format(length, width): shares[WIDTHS.index(width)] for width in (32, 64)}
        found.numbers[ERROR] = _attention_error(64, 64, generator)
        for order in (2, 3):
            match = Match(order=order, modulus=101).batch(50, 30, "train", generator_for(seed)).targets.double().mean()
            found.numbers[MATCHES.format(order)] = float(match)
        return found


def _signs(length: int, width: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.randint(0, 2, (length, width), generator=generator) - 1).double()


def _query(keys: Tensor, chosen: Tensor) -> Tensor:
    """The least w with w . k_i = 1 for the chosen keys."""
    own = keys[chosen]
    weights: Tensor = torch.linalg.solve(own @ own.T, torch.ones(len(own), dtype=keys.dtype))
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


def _attention_error(length: int, width: int, generator: torch.Generator) -> float:
    """The package's attention with these keys, values and a scaled query in its hooks, against the mean of the chosen values."""
    worst = 0.0
    for _ in range(20):
        keys, values = _signs(length, width, generator), torch.randn(length, VALUES, generator=generator).double()
        chosen = torch.randperm(length, generator=generator)[:SPARSITY]
        query = (SCALE * width**0.5 * _query(keys, chosen)).expand(length, -1)
        read = attention_reads(*(x[None, :, None] for x in (query, keys, values)))[0, -1, 0]
        worst = max(worst, float((read - values[chosen].mean(0)).abs().max()))
    return worst
