"""The groups of word problems as matrices, as products of reflections, and as characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...probe.tasks.word_problem import elements, multiplication

CLOSE = 1e-9


@lru_cache
def representation(group: str) -> Tensor:
    """A faithful orthogonal representation, rho(g h) = rho(g) rho(h): [order, d, d] in float64, in the order of `elements`.

    Z_m turns the plane by 2 pi / m (Z2 flips a line); S3 is the symmetry group of the triangle (d = 2); A4, S4 and A5 are the
    rotation groups of the tetrahedron, the cube and the icosahedron (d = 3); S5 permutes the corners of a simplex (d = 4). Raises
    UnknownNameError for a group that is not known.
    """
    every = elements(group)
    if group.startswith("Z"):
        angle = 2 * math.pi * torch.arange(len(every), dtype=torch.float64) / len(every)
        if len(every) == 2:
            return angle.cos()[:, None, None]
        return torch.stack([torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2)
    if group == "A5":
        return _icosahedral()
    points = len(every[0])
    permuted = torch.eye(points, dtype=torch.float64)[torch.tensor(every)].mT  # P e_i = e_g(i)
    simplex = torch.linalg.qr(torch.cat([torch.ones(points, 1).double(), torch.eye(points).double()[:, 1:]], dim=1)).Q[:, 1:]
    standard = simplex.mT @ permuted @ simplex
    # With the sign, the permutations of the cube's four diagonals become rotations.
    turned: Tensor = standard * torch.linalg.det(standard).sign()[:, None, None]
    return turned if group == "S4" else standard


def _icosahedral() -> Tensor:
    """A5 as rotations: two rotations of the icosahedron and two permutations that generate the group by the same relations."""
    golden = (1 + 5**0.5) / 2
    fifth = _rotation(torch.tensor([0.0, 1.0, golden], dtype=torch.float64), 2 * math.pi / 5)
    third = torch.eye(3, dtype=torch.float64)[[1, 2, 0]]
    every = elements("A5")
    index = {g: i for i, g in enumerate(every)}
    table = multiplication("A5")
    five = index[(1, 2, 3, 4, 0)]
    for three in (i for i, g in enumerate(every) if sum(g[x] == x for x in range(5)) == 2):
        found = {0: torch.eye(3, dtype=torch.float64)}
        frontier, consistent = [0], True
        while frontier and consistent:
            now = frontier.pop()
            for generator, matrix in ((five, fifth), (three, third)):
                after, image = int(table[generator, now]), matrix @ found[now]
                if after not in found:
                    found[after] = image
                    frontier.append(after)
                consistent &= bool((found[after] - image).abs().max() < CLOSE)
        if consistent and len(found) == len(every):
            return torch.stack([found[i] for i in range(len(every))])
    raise AssertionError("no pair of permutations generates A5 as the rotations do")


def _rotation(axis: Tensor, angle: float) -> Tensor:
    """Rodrigues' formula."""
    x, y, z = (axis / axis.norm()).tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def reflections_of(matrix: Tensor) -> Tensor:
    """Unit keys [n, d] with (I - 2 k_n k_n^T) ... (I - 2 k_1 k_1^T) = matrix, an orthogonal [d, d].

    n is the rank of matrix - I, and no fewer reflections do (Cartan and Dieudonne). Raises ValueError for a matrix that is not
    orthogonal.
    """
    size = len(matrix)
    identity = torch.eye(size, dtype=matrix.dtype)
    if matrix.shape != (size, size) or bool((matrix @ matrix.mT - identity).abs().max() > 1e-6):
        raise ValueError("only an orthogonal matrix is a product of reflections")
    keys: list[Tensor] = []
    left = matrix
    while bool((left - identity).abs().max() > CLOSE):
        moved = left - identity
        key = moved[:, moved.norm(dim=0).argmax()]
        key = key / key.norm()
        keys.append(key)
        left = left - 2 * torch.outer(key, key @ left)  # fixes one direction more
    return torch.stack(keys[::-1]) if keys else matrix.new_zeros(0, size)


def reflections_needed(group: str) -> int:
    """The most reflections that an element of the group takes in `representation`."""
    return max(len(reflections_of(matrix)) for matrix in representation(group))


def inverses(group: str) -> Tensor:
    """The index of each element's inverse."""
    return (multiplication(group) == 0).long().argmax(1)


def element_orders(group: str) -> Tensor:
    """The least m with g^m = 1 of each element, [order]."""
    table = multiplication(group)
    every = torch.arange(len(table))
    orders, power = torch.ones_like(every), every
    while bool((power != 0).any()):
        orders += power != 0
        power = torch.where(power != 0, table[every, power], 0)
    return orders


def element_names(group: str) -> list[str]:
    """Each element in cycles, such as (0 1 2)(3 4), with e the identity; of a cyclic group the number of steps."""
    if group.startswith("Z"):
        return [str(step) for step in range(len(elements(group)))]
    return [_in_cycles(element) for element in elements(group)]


def _in_cycles(permutation: Sequence[int]) -> str:
    said, seen = "", set()
    for start in range(len(permutation)):
        cycle = [start]
        while (after := permutation[cycle[-1]]) != start:
            cycle.append(after)
        if start not in seen and len(cycle) > 1:
            said += f"({' '.join(map(str, cycle))})"
        seen |= set(cycle)
    return said or "e"


@lru_cache
def conjugacy_classes(group: str) -> Tensor:
    """The class of each element, [order], numbered in the order of their first elements."""
    table, inverse = multiplication(group), inverses(group)
    every = torch.arange(len(table))
    conjugates = table[table[every[:, None], every], inverse[every][:, None]]  # x g x^-1 at [x, g]
    numbers: Tensor = torch.unique(conjugates.amin(0), return_inverse=True)[1]
    return numbers


@lru_cache
def characters(group: str) -> dict[str, Tensor]:
    """The irreducible characters by name, each [order] complex: "trivial", then by dimension ("1b", "2", "3a", "3b", ...).

    By Burnside: the class sums commute, and their common eigenvectors are |C| chi(C) / chi(1). One random combination of them
    tells all characters apart.
    """
    table, classes = multiplication(group), conjugacy_classes(group)
    order, count = len(table), int(classes.max()) + 1
    sizes = torch.bincount(classes).double()
    first = torch.stack([(classes == c).nonzero()[0, 0] for c in range(count)])
    inverse = inverses(group)
    weight = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # (M)_{s t} = sum_r w_r #{x in C_r, y in C_s : x y = z_t}, y = x^-1 z_t
    matrix = torch.zeros(count, count, dtype=torch.float64)
    for t in range(count):
        others = classes[table[inverse, first[t]]]
        matrix[:, t].index_add_(0, others, weight[classes])
    vectors = torch.linalg.eig(matrix)[1].mT  # each row a character, up to scale
    scaled = vectors / vectors[:, classes[0], None]
    degree = (order / (scaled.abs().square() / sizes).sum(1)).sqrt()
    values = (degree[:, None] * scaled / sizes)[:, classes]
    return _named([value for _, value in sorted(zip(degree.tolist(), values, strict=True), key=_by_size)])


def _by_size(entry: tuple[float, Tensor]) -> tuple[int, bool, list[float]]:
    degree, values = entry
    trivial = bool((values - 1).abs().max() < 1e-6)
    return round(degree), not trivial, [-round(float(value.real), 6) for value in values]


def _named(values: list[Tensor]) -> dict[str, Tensor]:
    sizes = [round(float(value[0].real)) for value in values]
    named = {"trivial": values[0]}
    for i, value in enumerate(values[1:], start=1):
        same = [j for j, size in enumerate(sizes) if size == sizes[i]]
        letter = "" if len(same) == 1 else chr(ord("a") + same.index(i))
        named[f"{sizes[i]}{letter}"] = value
    return named


def irreducible_projections(group: str) -> dict[str, Tensor]:
    """For each irreducible representation the projection [order, order] of functions on the group on what they have of it.

    f_rho(g) = (d_rho / |G|) sum_h chi_rho(g h^-1) f(h); the f_rho of all representations add up to f.
    """
    table, inverse = multiplication(group), inverses(group)
    quotient = table[torch.arange(len(table))[:, None], inverse]  # g h^-1 at [g, h]
    return {name: character[0].real / len(table) * character[quotient] for name, character in characters(group).items()}


def irreducible_power(maps: Tensor, group: str) -> dict[str, float]:
    """The share of sum_g |f(g)|^2 in each irreducible representation, for a function f on the group, maps [order, ...].

    The shares add up to 1 (Plancherel).
    """
    flat = maps.flatten(1).to(torch.complex128)
    total = flat.abs().square().sum()
    parts = {name: projection @ flat for name, projection in irreducible_projections(group).items()}
    return {name: float(part.abs().square().sum() / total) for name, part in parts.items()}
