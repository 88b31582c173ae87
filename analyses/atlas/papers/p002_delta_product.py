"""P002: DeltaProduct."""

from __future__ import annotations

import math
from itertools import permutations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....kernels.delta_rule import delta_rule
from ....kernels.operators.transition import Transition
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_most, equals

STEPS = 9999


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k, v = draw(2, 100, 2, 16), normalize(draw(2, 100, 2, 3, 16), dim=-1), draw(2, 100, 2, 3, 8)
    beta = 2 * draw(2, 100, 2, 3).sigmoid()
    found = Findings()
    found.numbers["chunked against token loop, three keys a token"] = agreement(delta_rule, (q, k, v, beta))
    single = delta_rule(q, k[..., 0, :], v[..., 0, :], beta[..., 0]).output
    as_product = delta_rule(q, k[..., :1, :], v[..., :1, :], beta[..., :1]).output
    found.numbers["one key a token against DeltaNet"] = difference(as_product, single)
    found.numbers["largest norm of a transition, beta in [0, 2]"] = float(Transition.householders(k, beta).norm().max())
    _rotation(found)
    for n in (3, 4, 5):
        found.numbers[f"most reflections a permutation of S{n} needs"] = _most_reflections(n)
        for reflections in (n - 2, n - 1):
            accuracy = _track(n, reflections, 512, seed)
            found.numbers[f"S{n} tracked over 512 tokens with {reflections} reflections"] = accuracy
    return found


def _rotation(found: Findings) -> None:
    """Two reflections whose mirrors meet at 60 degrees turn by 120."""
    angles = torch.tensor([0.0, math.pi / 3], dtype=torch.float64)
    keys = torch.stack([angles.cos(), angles.sin()], dim=-1)
    two = torch.full((2,), 2.0, dtype=torch.float64)
    eigenvalues = Transition.householders(keys[None], two[None]).eigenvalues()[0]
    found.numbers["Z3: real part of the eigenvalues"] = float(eigenvalues.real.mean())
    found.numbers["Z3: modulus of their imaginary part"] = float(eigenvalues.imag.abs().mean())
    start = torch.eye(2, dtype=torch.float64)[None, None]
    tokens = keys.expand(1, STEPS, 1, 2, 2), torch.zeros(1, STEPS, 1, 2, 2, dtype=torch.float64), two.expand(1, STEPS, 1, 2)
    query = torch.zeros(1, STEPS, 1, 2, dtype=torch.float64)
    taps = list(range(2, STEPS, 3))
    states = delta_rule(query, *tokens, initial_state=start, taps=taps).states
    assert states is not None
    drift = (states[0, :, 0] - start[0]).norm(dim=(-2, -1))
    found.numbers[f"Z3: drift after {STEPS} steps"] = float(drift[-1])
    every = slice(None, None, 101)
    found.curves["drift of a rotation of order 3", "two reflections"] = ([t + 1 for t in taps[every]], drift[every].tolist())


def _matrix(permutation: tuple[int, ...]) -> Tensor:
    return torch.eye(len(permutation), dtype=torch.float64)[list(permutation)]


def _most_reflections(n: int) -> float:
    """An orthogonal P is a product of rank(I - P) reflections and of no fewer (Scherk 1950)."""
    identity = torch.eye(n, dtype=torch.float64)
    return float(max(torch.linalg.matrix_rank(identity - _matrix(p)).item() for p in permutations(range(n))))


def _transpositions(permutation: tuple[int, ...]) -> list[tuple[int, int]]:
    """Swaps whose product is the permutation, by sorting it."""
    now, swaps = list(permutation), []
    for place in range(len(now)):
        while now[place] != place:
            other = now[place]
            now[place], now[other] = now[other], now[place]
            swaps.append((place, other))
    return swaps


def _track(n: int, reflections: int, length: int, seed: int) -> float:
    """The share of steps at which the state, a token being at most `reflections` of the swaps that sort its permutation, has
    brought n objects where composing the permutations does.
    """
    generator = torch.Generator().manual_seed(seed)
    group = list(permutations(range(n)))
    chosen = [group[i] for i in torch.randint(len(group), (length,), generator=generator).tolist()]
    keys = torch.zeros(length, reflections, n, dtype=torch.float64)
    beta = torch.zeros(length, reflections, dtype=torch.float64)
    for t, permutation in enumerate(chosen):
        swaps = _transpositions(permutation)[:reflections]
        for slot, (i, j) in enumerate(swaps):
            keys[t, slot, i], keys[t, slot, j], beta[t, slot] = 0.5**0.5, -(0.5**0.5), 2.0
    start = torch.eye(n, dtype=torch.float64)
    states = delta_rule(
        torch.zeros(1, length, 1, n, dtype=torch.float64),
        keys[None, :, None],
        torch.zeros(1, length, 1, reflections, n, dtype=torch.float64),
        beta[None, :, None],
        initial_state=start[None, None],
        taps=list(range(length)),
    ).states
    assert states is not None
    carried = states[0, :, 0] @ torch.arange(n, dtype=torch.float64)
    right, truth = [], tuple(range(n))
    for t, permutation in enumerate(chosen):
        truth = tuple(truth[permutation.index(place)] for place in range(n))
        right.append(tuple(carried[t].round().int().tolist()) == truth)
    return sum(right) / length


class Reflections(Claim, kind="p002-reflections"):
    """The equations."""

    paper, scope = "P002", Scope.IDENTITY
    statement = (
        "One key a token is DeltaNet; transitions are contractions for beta in [0, 2]; two reflections make an "
        "exact rotation of order 3; permutations of n objects need up to n - 1 reflections a token, and with so "
        "many the state tracks S_n exactly."
    )
    measurements = (
        at_most("chunked against token loop, three keys a token", 1e-4),
        at_most("one key a token against DeltaNet", 1e-12),
        at_most("largest norm of a transition, beta in [0, 2]", 1.0 + 1e-9),
        equals("Z3: real part of the eigenvalues", -0.5, 1e-12),
        equals("Z3: modulus of their imaginary part", 3**0.5 / 2, 1e-12),
        at_most(f"Z3: drift after {STEPS} steps", 1e-10),
        *(equals(f"most reflections a permutation of S{n} needs", n - 1) for n in (3, 4, 5)),
        *(equals(f"S{n} tracked over 512 tokens with {n - 1} reflections", 1.0) for n in (3, 4, 5)),
        *(at_most(f"S{n} tracked over 512 tokens with {n - 2} reflections", 0.5) for n in (3, 4, 5)),
    )
    panels = (Axes("drift of a rotation of order 3", "tokens", "distance from where it started", y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
