"""Word problems of finite groups: which element is the product so far? The measure of what a transition can track.

A token is an element g_t; the target after it is g_t ... g_2 g_1. S5 and A5 are not solvable, and their word problem is complete
for NC1; Z_m is counting modulo m.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
from torch import Generator, Tensor

from ..errors import unknown_name
from .base import Batch, Split, Task, draw_split

Permutation = tuple[int, ...]
GROUPS = ("S3", "S4", "S5", "A4", "A5")


@dataclass(frozen=True)
class WordProblem(Task, kind="word_problem"):
    """The target after each token is the product of the tokens so far, which are elements of a group. Labels: "element", that
    product, and for a permutation group "sign" (0 even, 1 odd).
    """

    group: str = "S3"
    """The tokens are elements of this group: S3, S4, S5, A4, A5, or Z2, Z3, ... (cyclic)."""

    label_names = ("element", "sign")

    def __post_init__(self) -> None:
        elements(self.group)

    @property
    def vocabulary(self) -> int:
        return len(elements(self.group))

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        order = self.vocabulary
        tokens = draw_split(lambda count: torch.randint(0, order, (count, length), generator=generator), size, split)
        table, now, products = multiplication(self.group), torch.zeros(size, dtype=torch.long), []
        for token in tokens.unbind(1):
            now = table[token, now]
            products.append(now)
        element = torch.stack(products, 1)
        signs = torch.tensor([_sign(g) for g in elements(self.group)])
        return Batch(tokens, element, {"element": element, "sign": signs[element]})

    @property
    def automaton_table(self) -> Tensor:
        """Token g leads from element h to g h."""
        return multiplication(self.group).T

    def labels_of(self, tokens: Tensor) -> dict[str, Tensor]:
        """The product of the tokens so far."""
        now, products = torch.tensor(0), []
        for token in tokens:
            now = multiplication(self.group)[token, now]
            products.append(now)
        return {"element": torch.stack(products)} if products else {}


@lru_cache
def elements(group: str) -> tuple[Permutation, ...]:
    """The elements as permutations, the identity first. Raises UnknownNameError for a group that is not known."""
    kind, size = group[:1], group[1:]
    if kind == "Z" and size.isdigit() and int(size) >= 2:
        n = int(size)
        return tuple(tuple((i + shift) % n for i in range(n)) for shift in range(n))
    if group not in GROUPS:
        raise unknown_name("group", group, [*GROUPS, "Z2", "Z3"])
    every = list(permutations(range(int(size))))
    return tuple(g for g in every if kind == "S" or _sign(g) == 0)


@lru_cache
def multiplication(group: str) -> Tensor:
    """The index of g h, first h and then g, at [index of g, index of h]."""
    every = elements(group)
    index = {g: i for i, g in enumerate(every)}
    return torch.tensor([[index[tuple(g[i] for i in h)] for h in every] for g in every])


def _sign(permutation: Permutation) -> int:
    """0 for an even permutation, 1 for an odd one."""
    inversions = sum(permutation[j] < permutation[i] for i in range(len(permutation)) for j in range(i + 1, len(permutation)))
    return inversions % 2
