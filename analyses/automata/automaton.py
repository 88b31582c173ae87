"""Finite automata that answer in each state: run, minimised and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Automaton:
    """A finite automaton that gives an answer in each of its states.

    table: [states, tokens], the state after each token; -1 for a token that was never seen there. answers: [states]. start: the
    state before the first token.
    """

    table: Integers
    answers: Integers
    start: int

    def run(self, tokens: Integers) -> Integers:
        """The state after each token of [B, T]; -1 from the first token on that is not in the table."""
        now, states = np.full(len(tokens), self.start), np.empty_like(tokens)
        for position in range(tokens.shape[1]):
            now = np.where(now < 0, -1, self.table[now, tokens[:, position]])
            states[:, position] = now
        return states

    def classes(self) -> Integers:
        """States that no continuation tells apart have one number, [states] (Moore 1956)."""
        classes = np.unique(self.answers, return_inverse=True)[1]
        while True:
            after = np.where(self.table < 0, -1, classes[self.table])
            refined = np.unique(np.column_stack([classes, after]), axis=0, return_inverse=True)[1].ravel()
            if refined.max() == classes.max():
                return refined
            classes = refined

    def minimal(self) -> Automaton:
        """The same with such states merged, and without those that are not reached."""
        classes = self.classes()
        first = np.array([int(np.flatnonzero(classes == c)[0]) for c in range(classes.max() + 1)])
        table = np.where(self.table[first] < 0, -1, classes[self.table[first]])
        return Automaton(table, self.answers[first], int(classes[self.start])).reachable()

    def reachable(self) -> Automaton:
        """The states that some sequence reaches, in the order in which the shortest do; the start is 0."""
        order, index = [self.start], {self.start: 0}
        for state in order:
            for after in self.table[state].tolist():
                if after >= 0 and after not in index:
                    index[after] = len(order)
                    order.append(after)
        renumbered = np.vectorize(lambda state: index.get(state, -1), otypes=[np.int64])(self.table[order])
        return Automaton(renumbered, self.answers[order], 0)

    def equals(self, other: Automaton) -> bool:
        """Whether both minimal automata are one, whatever their states are called."""
        mine, theirs = self.minimal(), other.minimal()
        return bool(np.array_equal(mine.table, theirs.table) and np.array_equal(mine.answers, theirs.answers))


def group_automaton(table: Tensor) -> Automaton:
    """The automaton of a word problem: states are elements, and token g leads from h to g h. table [order, order], of g h."""
    order = len(table)
    return Automaton(table.numpy().T.astype(np.int64), np.arange(order), 0)
