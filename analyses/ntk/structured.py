"""The tangent kernel from what one backward pass an output says of each sample, where parameters meet the data."""

from __future__ import annotations

from .factors import Rows
from .inner_products import inner, inner_of_all
from .jacobian import Route
from .over_outputs import Waiting
from .passes import Passes, note
from .pieces import zeros
from .samples import Samples
from .task import EngineResult, KernelSums, KernelTask


def structured_kernel(task: KernelTask) -> EngineResult:
    """The kernel from the rows of both sides: output by output and parameter by parameter, or gathered first for all outputs."""
    routes: dict[str, Route] = {}
    sums: KernelSums | None = None

    def of(samples: Samples) -> Passes:
        made = Passes(task, samples)
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
    indices, waiting = task.indices(one.values.shape[1]), Waiting()
    for done, index in enumerate(indices):
        its = None if other is one else dict(other.rows(index))
        for name, own in one.rows(index):
            if its is not None and name not in its:
                continue
            pair = (own, own if its is None else its[name])
            if not waiting.take(name, *pair):
                sums.add(name, rows, columns, inner(*pair))
        if waiting.full or done + 1 == len(indices):
            for name, block in waiting.products():
                sums.add(name, rows, columns, block)
        task.advance(done + 1, len(indices))


def _all_with_all(task: KernelTask, sums: KernelSums, rows: slice, columns: slice, one: Passes, other: Passes) -> None:
    """Every output with every output: what all say is gathered first."""
    indices = task.indices(one.values.shape[1])
    gathered: list[tuple[dict[str, Rows], dict[str, Rows]]] = []
    for done, index in enumerate(indices):
        left = dict(one.rows(index))
        gathered.append((left, left if other is one else dict(other.rows(index))))
        task.advance(done + 1, len(indices))
    for name in {name for left, _ in gathered for name in left}:
        one_side = _of_all(name, [left for left, _ in gathered], len(one.samples))
        other_side = one_side if other is one else _of_all(name, [right for _, right in gathered], len(other.samples))
        if one_side and other_side:
            sums.add(name, rows, columns, inner_of_all(one_side, other_side))


def _of_all(name: str, rows: list[dict[str, Rows]], samples: int) -> list[Rows]:
    """The rows of a parameter for every output, zeros for one that does not depend on it; none where no output does."""
    found = next((own[name] for own in rows if name in own), None)
    if found is None:
        return []
    return [own.get(name) or zeros(found, samples) for own in rows]
