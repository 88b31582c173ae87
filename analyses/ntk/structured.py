"""The tangent kernel from what one backward pass an output says of each sample, where parameters meet the data."""

from __future__ import annotations

from .factors import GATHERED, Dense, Factor, inner, inner_of_all, side_by_side
from .jacobian import Jacobian, Route
from .samples import Samples
from .task import EngineResult, KernelSums, KernelTask


def structured_kernel(task: KernelTask) -> EngineResult:
    """The kernel from the rows of both sides: output by output and parameter by parameter, or gathered first for all outputs."""
    routes: dict[str, Route] = {}
    sums: KernelSums | None = None

    def of(samples: Samples) -> Jacobian:
        made = Jacobian(task.model, samples, task.read, task.parameters)
        _note(routes, made.routes)
        return made

    for rows, columns, one, other in task.tiles(of):
        sums = KernelSums(task, one.values.shape[1]) if sums is None else sums
        add = _all_with_all if task.output == "full" else _each_with_itself
        add(task, sums, rows, columns, one, other)
    assert sums is not None
    return EngineResult(sums.parts, routes)


def _each_with_itself(task: KernelTask, sums: KernelSums, rows: slice, columns: slice, one: Jacobian, other: Jacobian) -> None:
    """As many outputs together as have little to be gathered; of large tiles one, and then a parameter after another."""
    indices = task.indices(one.values.shape[1])
    at_once = max(1, GATHERED // max(1, sum(use.size for side in {one, other} for use in side.uses)))
    for start in range(0, len(indices), at_once):
        few = indices[start : start + at_once]
        its = None if other is one else _of_few(other, few)
        if its is None and len(few) == 1:
            for name, factor in one.rows(few[0]):
                sums.add(name, rows, columns, inner(factor, factor))
        else:
            for name, own in _of_few(one, few).items():
                for left, right in _pairs(own, own if its is None else its.get(name, {})):
                    sums.add(name, rows, columns, inner(left, right))
        task.advance(start + len(few), len(indices))


def _of_few(side: Jacobian, indices: list[int]) -> dict[str, dict[int, Factor]]:
    """What each of some outputs says of each parameter, by the output's index."""
    found: dict[str, dict[int, Factor]] = {}
    for index in indices:
        for name, factor in side.rows(index):
            found.setdefault(name, {})[index] = factor
    return found


def _pairs(one: dict[int, Factor], other: dict[int, Factor]) -> list[tuple[Factor, Factor]]:
    """Factors of both sides whose inner products add up to the trace over the outputs that both have."""
    if one is other:
        return [(own, own) for own in side_by_side(list(one.values()))]
    both = [index for index in one if index in other]
    left, right = side_by_side([one[index] for index in both]), side_by_side([other[index] for index in both])
    if len(left) != len(right):
        left, right = [one[index] for index in both], [other[index] for index in both]
    return list(zip(left, right, strict=True))


def _all_with_all(task: KernelTask, sums: KernelSums, rows: slice, columns: slice, one: Jacobian, other: Jacobian) -> None:
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
    total = found.total()
    return [own[name] if name in own else Dense(total.new_zeros(samples, len(total))) for own in rows]


def _note(routes: dict[str, Route], found: dict[str, Route]) -> None:
    """Keep the costlier route where tiles differ."""
    for name, route in found.items():
        if routes.get(name) != "alone":
            routes[name] = route if route != "unused" or name not in routes else routes[name]
