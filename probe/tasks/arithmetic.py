"""Arithmetic modulo m: sums, differences and products of digits, with the usual precedence, with or without brackets.

Without brackets a finite automaton follows it; with brackets a stack is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .base import IGNORED, Batch, Split, Task, draw_split


@dataclass(frozen=True)
class ModularArithmetic(Task, kind="modular_arithmetic"):
    """Tokens are the digits 0 .. m-1, then + - * and, with brackets, ( ). After a digit or a closing bracket the target is the
    value so far of what the innermost open bracket holds; after the rest nothing is asked. Labels: that value ("value", -1 where
    it has none) and the open brackets ("depth").
    """

    modulus: int = 5
    """Values are counted modulo this number."""
    brackets: bool = False
    """Brackets may be opened and closed."""
    deepest: int = 4
    """At most this many brackets are open at once."""

    label_names = ("value", "depth")

    def __post_init__(self) -> None:
        if self.modulus < 2:
            raise ValueError(f"modulus must be at least 2, got {self.modulus}")

    @property
    def vocabulary(self) -> int:
        return self.modulus + (5 if self.brackets else 3)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        def draw(count: int) -> Tensor:
            chance = torch.rand(count, length, 2, generator=generator).tolist()
            return torch.tensor([self._expression(row) for row in chance])

        tokens = draw_split(draw, size, split)
        found = [self._evaluate(row) for row in tokens.tolist()]
        value, depth = (torch.tensor([pair[i] for pair in found]) for i in (0, 1))
        targets = torch.where(value < 0, IGNORED, value)
        return Batch(tokens, targets, {"value": value, "depth": depth})

    def _expression(self, chance: list[list[float]]) -> list[int]:
        """An expression that may stop anywhere, from two numbers in [0, 1) for each token."""
        m, row, depth, operand = self.modulus, [], 0, True
        for kind, which in chance:
            if operand and self.brackets and kind < 0.25 and depth < self.deepest:
                row.append(m + 3)
                depth += 1
            elif operand:
                row.append(int(which * m))
                operand = False
            elif depth and kind < 0.35:
                row.append(m + 4)
                depth -= 1
            else:
                row.append(m + int(which * 3))
                operand = True
        return row

    def _evaluate(self, row: list[int]) -> tuple[list[int], list[int]]:
        """The value after each token (-1 where there is none), and the open brackets."""
        m, values, depths = self.modulus, [], []
        stack: list[tuple[int, int, int, int]] = []
        total, sign, product, operation = 0, 1, 1, -1  # total + sign * product, and the operator that waits for an operand
        for token in row:
            if token == m + 3:
                stack.append((total, sign, product, operation))
                total, sign, product, operation = 0, 1, 1, -1
                values.append(-1)
            elif m <= token < m + 3:
                operation = token - m
                values.append(-1)
            else:
                operand = token
                if token == m + 4:
                    operand = (total + sign * product) % m
                    total, sign, product, operation = stack.pop()
                if operation == 2:
                    product = product * operand % m
                else:
                    total = total if operation == -1 else (total + sign * product) % m
                    sign, product = (-1 if operation == 1 else 1), operand
                values.append((total + sign * product) % m)
            depths.append(len(stack))
        return values, depths
