"""P002: DeltaProduct, and which groups a product of n reflections a token can track."""

from __future__ import annotations

import math
from itertools import permutations, product

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....kernels.delta_rule import delta_rule
from ....kernels.operators.transition import Transition
from ....probe.runs.run import Run
from ....probe.tasks.base import generator_for
from ....probe.tasks.word_problem import Permutation, WordProblem, elements
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_most, equals

CHUNKED = "chunked in float32 against token loop, three keys a token"
SINGLE = "one key a token against DeltaNet"
NORM = "largest norm of a transition, beta in [0, 2]"


class Forms(Claim, kind="p002-forms"):
    """The product form, with several keys a token, is compared with the recurrence."""

    paper, scope = "P002", Scope.IDENTITY
    statement = "The product form is the recurrence; one key a token is DeltaNet; transitions contract for beta in [0, 2]."
    measurements = (at_most(CHUNKED, 1e-4), at_most(SINGLE, 1e-12), at_most(NORM, 1.0 + 1e-9, "norm"))

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        q, k, v = draw(2, 100, 2, 16), normalize(draw(2, 100, 2, 3, 16), dim=-1), draw(2, 100, 2, 3, 8)
        beta = 2 * draw(2, 100, 2, 3).sigmoid()
        single = delta_rule(q, k[..., 0, :], v[..., 0, :], beta[..., 0]).output
        as_product = delta_rule(q, k[..., :1, :], v[..., :1, :], beta[..., :1]).output
        return Findings(
            {
                CHUNKED: agreement(delta_rule, (q, k, v, beta)),
                SINGLE: difference(as_product, single),
                NORM: float(Transition.householders(k, beta).norm().max()),
            }
        )


STEPS = 9999
REAL, IMAGINARY = "Z3: real part of the eigenvalues", "Z3: modulus of their imaginary part"
DRIFT_Z3 = f"Z3: drift after {STEPS} tokens"
LENGTH = 512
NEEDED = "{}: most reflections that one of its permutation matrices needs"
BY_SWAPS = "{}: share of 512 tokens tracked by {} reflections of permutation matrices"
BY_ROTATIONS = "{}: share of 512 tokens tracked as rotations, two reflections each"
DRIFT = "{}: distance of the state from its rotation after 512 tokens"
TURN = Axes("drift of a rotation of order 3", "tokens", "distance from where it started", y_log=True)


class Reflections(Claim, kind="p002-reflections"):
    """Groups are built as products of reflections."""

    paper, scope = "P002", Scope.CONSTRUCTION
    statement = (
        "Two reflections make an exact rotation of order 3. As permutation matrices S_n needs n - 1 reflections a token, and "
        "with fewer the state goes wrong; but S4, as the rotations of a cube, and A5, as those of an icosahedron, need two."
    )
    measurements = (
        equals(REAL, -0.5, 1e-12),
        equals(IMAGINARY, 3**0.5 / 2, 1e-12),
        at_most(DRIFT_Z3, 1e-10, "distance"),
        *(equals(NEEDED.format(f"S{n}"), n - 1, unit="reflections") for n in (3, 4, 5)),
        *(equals(BY_SWAPS.format(f"S{n}", n - 1), 1.0, unit="share") for n in (3, 4, 5)),
        *(at_most(BY_SWAPS.format(f"S{n}", n - 2), 0.5, "share") for n in (3, 4, 5)),
        *(equals(BY_ROTATIONS.format(group), 1.0, unit="share") for group in ("S4", "A5")),
        *(at_most(DRIFT.format(group), 1e-10, "distance") for group in ("S4", "A5")),
    )
    panels = (TURN,)
    note = "How many reflections are enough depends on the representation: S4's permutation matrices need 3, its rotations 2."

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        _turn(found)
        for n in (3, 4, 5):
            group = f"S{n}"
            found.numbers[NEEDED.format(group)] = max(_reflections_needed(_matrix(g)) for g in elements(group))
            for count in (n - 2, n - 1):
                keys = {g: _swaps(g)[:count] for g in elements(group)}
                found.numbers[BY_SWAPS.format(group, count)], _ = _track(group, {g: _matrix(g) for g in keys}, keys, count, seed)
        for group, rotations in (("S4", cube_rotations()), ("A5", icosahedron_rotations())):
            keys = {g: _two_mirrors(rotation) for g, rotation in rotations.items()}
            share, drift = _track(group, rotations, keys, 2, seed)
            found.numbers |= {BY_ROTATIONS.format(group): share, DRIFT.format(group): drift}
        return found


def _turn(found: Findings) -> None:
    """Two reflections whose mirrors meet at 60 degrees turn by 120."""
    angles = torch.tensor([0.0, math.pi / 3], dtype=torch.float64)
    keys = torch.stack([angles.cos(), angles.sin()], dim=-1)
    two = torch.full((2,), 2.0, dtype=torch.float64)
    eigenvalues = Transition.householders(keys[None], two[None]).eigenvalues()[0]
    found.numbers |= {REAL: float(eigenvalues.real.mean()), IMAGINARY: float(eigenvalues.imag.abs().mean())}
    taps = list(range(2, STEPS, 3))
    states = _states(keys.expand(STEPS, 2, 2), two.expand(STEPS, 2), taps)
    drift = (states - torch.eye(2, dtype=torch.float64)).norm(dim=(-2, -1))
    found.numbers[DRIFT_Z3] = float(drift[-1])
    every = slice(None, None, 101)
    found.curves[TURN.title, "two reflections"] = ([t + 1 for t in taps[every]], drift[every].tolist())


def _states(keys: Tensor, beta: Tensor, taps: list[int]) -> Tensor:
    """The states [taps, K, K] that start at the identity and are only reflected: keys [T, n, K], beta [T, n]."""
    length, count, size = keys.shape
    nothing, start = keys.new_zeros(1, length, 1, size), torch.eye(size, dtype=keys.dtype)
    writes = keys.new_zeros(1, length, 1, count, size)
    out = delta_rule(nothing, keys[None, :, None], writes, beta[None, :, None], initial_state=start[None, None], taps=taps)
    assert out.states is not None
    return out.states[0, :, 0]


def _track(
    group: str, matrices: dict[Permutation, Tensor], mirrors: dict[Permutation, list[Tensor]], count: int, seed: int
) -> tuple[float, float]:
    """The share of tokens after which the state is nearest to the matrix of the right element, and its distance at the end.

    mirrors: of each element, the normals of at most `count` reflections whose product it is, the first to act first.
    """
    batch = WordProblem(group).batch(1, LENGTH, "test", generator_for(seed))
    order = elements(group)
    size = len(next(iter(matrices.values())))
    keys, beta = torch.zeros(LENGTH, count, size, dtype=torch.float64), torch.zeros(LENGTH, count, dtype=torch.float64)
    keys[..., 0] = 1.0  # a unit vector where nothing is reflected
    for t, token in enumerate(batch.tokens[0].tolist()):
        for slot, normal in enumerate(mirrors[order[token]]):
            keys[t, slot], beta[t, slot] = normal, 2.0
    states = _states(keys, beta, list(range(LENGTH)))
    every = torch.stack([matrices[g] for g in order])
    distances = (states[:, None] - every).flatten(2).norm(dim=-1)
    right = distances.argmin(1) == batch.targets[0]
    return float(right.double().mean()), float(distances[-1, batch.targets[0, -1]])


def _matrix(g: Permutation) -> Tensor:
    """P with P e_i = e_g(i)."""
    matrix = torch.zeros(len(g), len(g), dtype=torch.float64)
    matrix[list(g), range(len(g))] = 1.0
    return matrix


def _reflections_needed(matrix: Tensor) -> float:
    """An orthogonal P is a product of rank(I - P) reflections and of no fewer (Scherk 1950)."""
    return float(torch.linalg.matrix_rank(torch.eye(len(matrix), dtype=matrix.dtype) - matrix))


def _swaps(g: Permutation) -> list[Tensor]:
    """The normals of reflections, each a swap of two places, whose product in this order is the permutation matrix."""
    now, normals = list(range(len(g))), []  # now[i]: where the swaps so far bring i
    for i, wanted in enumerate(g):
        if now[i] != wanted:
            normal = torch.zeros(len(g), dtype=torch.float64)
            normal[now[i]], normal[wanted] = 0.5**0.5, -(0.5**0.5)
            normals.append(normal)
            swap = {now[i]: wanted, wanted: now[i]}
            now = [swap.get(place, place) for place in now]
    return normals


def _two_mirrors(rotation: Tensor) -> list[Tensor]:
    """The normals of two reflections whose product turns three dimensions as the rotation does."""
    turned = torch.stack([rotation @ axis - axis for axis in torch.eye(3, dtype=rotation.dtype)])
    first = turned[turned.norm(dim=-1).argmax()]  # R x - x: the mirror of it takes x to R x
    if float(first.norm()) < 1e-9:
        return []
    first = normalize(first, dim=-1)
    rest = rotation @ (torch.eye(3, dtype=rotation.dtype) - 2 * first[:, None] * first)
    values, vectors = torch.linalg.eigh((rest + rest.T) / 2)
    return [first, vectors[:, values.argmin()]]


def cube_rotations() -> dict[Permutation, Tensor]:
    """Map each element of S4, as it permutes the four diagonals of the cube, to its rotation."""
    diagonals = torch.tensor([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]], dtype=torch.float64)
    found = {}
    for places, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = torch.zeros(3, 3, dtype=torch.float64)
        matrix[list(places), range(3)] = torch.tensor(signs, dtype=torch.float64)
        if torch.linalg.det(matrix) > 0:
            met = (matrix @ diagonals.T).T @ diagonals.T  # [from, to]: 3 or -3 where they coincide
            found[tuple(met.abs().argmax(1).tolist())] = matrix
    return found


def icosahedron_rotations() -> dict[Permutation, Tensor]:
    """Map each element of A5, as it permutes five triples of orthogonal axes of the icosahedron, to its rotation."""
    golden = (1 + 5**0.5) / 2
    axes = list(torch.eye(3, dtype=torch.float64))
    for signs in product((1.0, -1.0), repeat=2):
        axis = torch.tensor([1.0, signs[0] * golden, signs[1] / golden], dtype=torch.float64) / 2
        axes += [axis.roll(shift) for shift in range(3)]
    orthogonal = (torch.stack(axes) @ torch.stack(axes).T).abs() < 1e-9
    chosen = {frozenset([i, *row.nonzero().flatten().tolist()]) for i, row in enumerate(orthogonal)}
    triples = [torch.stack([axes[i] for i in sorted(triple)]) for triple in sorted(chosen, key=min)]
    half_turns = [2 * axis[:, None] * axis - torch.eye(3, dtype=torch.float64) for axis in axes]
    found: dict[Permutation, Tensor] = {}
    reached = [torch.eye(3, dtype=torch.float64)]
    while reached:
        matrix = reached.pop()
        moved = torch.stack([(triple @ matrix.T @ other.T).abs().max() for triple in triples for other in triples])
        permutation = tuple(moved.view(5, 5).argmax(1).tolist())  # a triple meets itself at 1, another below 0.81
        if permutation not in found:
            found[permutation] = matrix
            reached += [half @ matrix for half in half_turns]
    return found
