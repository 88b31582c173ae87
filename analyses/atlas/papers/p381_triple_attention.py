"""P381: attention to pairs of tokens."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ....kernels.triple_attention import triple_attention
from ....probe.runs.run import Run
from ....probe.tasks.base import generator_for
from ....probe.tasks.matching import Match
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, operations, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

MODULUS, LENGTH, SEQUENCES, SHARP = 11, 16, 100, 400.0
SIZE, TOKENS, DEGREES = 4, 24, (1, 2, 3, 4, 6, 8)

MATCH3 = "Match3 of numbers below 11: share of positions right"
SMALL = "entries of at most 1: error of the polynomial of degree 8"
LARGE = "entries of at most 3: error of the polynomial of degree 8"
STEP = "largest error over that of the polynomial one degree step lower, entries of at most 1"
PAIRS = "every pair: operations at 64 tokens over 16"
SUMS = "polynomial: operations at 64 tokens over 16"
ERRORS = Axes("polynomial in place of the exponential", "degree", "relative error", y_log=True)


class Triples(Claim, kind="p381-triples"):
    """A head of four trigonometric channels solves Match3, and a polynomial makes attention to pairs linear in the length."""

    paper, scope = "P381", Scope.CONSTRUCTION
    statement = (
        "One head of attention to pairs, set by hand with sines and cosines, solves Match3 exactly. With a polynomial for the "
        "exponential it costs a step as much at any length, with an error that falls with the degree for bounded entries and not "
        "for large ones."
    )
    measurements = (
        equals(MATCH3, 1.0, unit="share"),
        at_most(SMALL, 1e-3),
        at_most(STEP, 0.9, "ratio"),
        at_least(LARGE, 0.05, "relative error"),
        at_least(PAIRS, 20.0, "ratio"),
        equals(SUMS, 4.0, 0.01, "ratio"),
    )
    panels = (ERRORS,)
    note = "That nothing is faster for large entries (under SETH), and that one standard head cannot solve Match3, are theorems."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        found.numbers[MATCH3] = _match3(seed)
        for what, bound in ((SMALL, 1.0), (LARGE, 3.0)):
            inputs = _inputs(draw, TOKENS, bound)
            truth = triple_attention(*inputs, scale=1.0)
            errors = [difference(triple_attention(*inputs, scale=1.0, degree=degree), truth) for degree in DEGREES]
            found.numbers[what] = errors[-1]
            if what == SMALL:
                found.numbers[STEP] = max(later / earlier for earlier, later in pairwise(errors))
            found.curves[ERRORS.title, f"entries of at most {bound:g}"] = (DEGREES, errors)
        for what, degree in ((PAIRS, None), (SUMS, 2)):
            short, long = (_cost(_inputs(draw, length, 1.0), degree) for length in (16, 64))
            found.numbers[what] = long / short
        return found


def _cost(inputs: list[Tensor], degree: int | None) -> int:
    return operations(lambda: triple_attention(*inputs, degree=degree))


def _inputs(draw: Draw, length: int, bound: float) -> list[Tensor]:
    """Drawn q, k, p of entries up to a bound, and v, w."""
    keys = [bound * draw(1, length, 1, SIZE).tanh() for _ in range(3)]
    return [*keys, draw(1, length, 1, SIZE), draw(1, length, 1, SIZE)]


def _match3(seed: int) -> float:
    """cos(x + y + z) as a product of three, beside a blank token that a pair whose sum is not 0 loses against:

    cos x cos y cos z - cos x sin y sin z - sin x cos y sin z - sin x sin y cos z, and a fifth channel for the blank pair.
    """
    batch = Match(order=3, modulus=MODULUS).batch(SEQUENCES, LENGTH, "test", generator_for(seed))
    angle = 2 * math.pi * batch.tokens.double() / MODULUS
    cosine, sine, zero, one = angle.cos(), angle.sin(), 0 * angle, torch.ones_like(angle)
    q = torch.stack([cosine, -cosine, -sine, -sine, one], -1)
    k = torch.stack([cosine, sine, cosine, sine, zero], -1)
    p = torch.stack([cosine, sine, sine, cosine, zero], -1)
    blank = torch.zeros(SEQUENCES, 1, 5, dtype=torch.float64)
    blank[..., -1] = ((1 + math.cos(2 * math.pi / MODULUS)) / 2) ** 0.5  # between a sum of 0 and the nearest other
    q, k, p = (torch.cat([first, rest], 1)[:, :, None] for first, rest in ((0 * blank, q), (blank, k), (blank, p)))
    value = torch.cat([zero[:, :1], one], 1)[:, :, None, None]
    read = triple_attention(q, k, p, value, value, scale=SHARP)[:, 1:, 0, 0]
    return float(((read > 0.5).long() == batch.targets).double().mean())
