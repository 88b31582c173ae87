"""The tangent kernel from what one backward pass an output says of each sample, where parameters meet the data."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from .factors import Factor, Outer, inner, inner_of_all, side_by_side
from .jacobian import Route
from .passes import Passes, note
from .pieces import zeros
from .samples import Samples
from .task import EngineResult, KernelSums, KernelTask

SMALL = 2**17  # numbers of gradients that wait for those of other outputs
GATHERED = 2**20  # numbers that wait in all


def structured_kernel(task: KernelTask) -> EngineResult:
    """The kernel from the rows of both sides: output by output and parameter by parameter, or gathered first for all outputs."""
    routes: dict[str, Route] = {}
    sums: KernelSums | None = None

    def of(samples: Samples) -> Passes:
        made = Passes(task.model, samples, task.read, task.parameters, task.in_a_pass)
        note(routes, made.routes)
        return made

    for rows, columns, one, other in task.tiles(of):
        sums = KernelSums(task, one.values.shape[1]) if sums is None else sums
        add = _all_with_all if task.output == "full" else _each_with_itself
        add(task, sums, rows, columns, one, other)
    assert sums is not None
    return EngineResult(sums.parts, routes)


def _each_with_itself(task: KernelTask, sums: KernelSums, rows: slice, columns: slice, one: Passes, other: Passes) -> None:
    """The trace: output by output and parameter by parameter. What is small waits for the other outputs'."""
    indices, waiting = task.indices(one.values.shape[1]), _Waiting()
    for done, index in enumerate(indices):
        its = None if other is one else dict(other.rows(index))
        for name, own in one.rows(index):
            if its is not None and name not in its:
                continue
            pair = (own, own if its is None else its[name])
            if not waiting.take(name, *pair):
                sums.add(name, rows, columns, inner(*pair))
        if waiting.held > GATHERED or done + 1 == len(indices):
            for name, block in waiting.products():
                sums.add(name, rows, columns, block)
        task.advance(done + 1, len(indices))


class _Waiting:
    """Factors of both sides that wait for those of other outputs, to be multiplied together.

    held: the numbers that they take.
    """

    def __init__(self) -> None:
        self.held = 0
        self._pairs: dict[str, list[tuple[Factor, Factor]]] = {}

    def take(self, name: str, one: Factor, other: Factor) -> bool:
        """Keep a pair if it is small; False where it is not."""
        size = one.numbers + (0 if other is one else other.numbers)
        if size > SMALL:
            return False
        self._pairs.setdefault(name, []).append((one, other))
        self.held += size
        return True

    def products(self) -> Iterator[tuple[str, Tensor]]:
        """The kernel [N, M] of each parameter over the outputs that waited, which are let go."""
        for name, pairs in self._pairs.items():
            for one, other in together_by_pairs(pairs):
                yield name, inner(one, other)
        self.held, self._pairs = 0, {}


def together_by_pairs(pairs: list[tuple[Factor, Factor]]) -> list[tuple[Factor, Factor]]:
    """Pairs of fewer factors whose inner products add up to the same."""
    left = side_by_side([one for one, _ in pairs])
    if all(one is other for one, other in pairs):
        return [(own, own) for own in left]
    right = side_by_side([other for _, other in pairs])
    return list(zip(left, right, strict=True)) if list(map(_form, left)) == list(map(_form, right)) else pairs


def _form(factor: Factor) -> tuple[type[Factor], tuple[int, int] | None]:
    """What two factors have alike whose rows hold the same numbers in the same order."""
    return type(factor), factor.sizes if isinstance(factor, Outer) else None


def _all_with_all(task: KernelTask, sums: KernelSums, rows: slice, columns: slice, one: Passes, other: Passes) -> None:
    """Every output with every output: what all say is gathered first."""
    indices = task.indices(one.values.shape[1])
    gathered: list[tuple[dict[str, Factor], dict[str, Factor]]] = []
    for done, index in enumerate(indices):
        left = dict(one.rows(index))
        gathered.append((left, left if other is one else dict(other.rows(index))))
        task.advance(done + 1, len(indices))
    for name in {name for left, _ in gathered for name in left}:
        one_side = _of_all(name, [left for left, _ in gathered], len(one.samples))
        other_side = one_side if other is one else _of_all(name, [right for _, right in gathered], len(other.samples))
        if one_side and other_side:
            sums.add(name, rows, columns, inner_of_all(one_side, other_side))


def _of_all(name: str, rows: list[dict[str, Factor]], samples: int) -> list[Factor]:
    """The rows of a parameter for every output, zeros for one that does not depend on it; none where no output does."""
    found = next((own[name] for own in rows if name in own), None)
    if found is None:
        return []
    return [own.get(name) or zeros(found, samples) for own in rows]
