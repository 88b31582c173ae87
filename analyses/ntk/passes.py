"""The Jacobian of many samples by several passes, each so small that what a backward pass makes stays in the processor's cache.

Gradients of 64 sequences are tens of megabytes an operation: each operation then waits for memory, and for the system, which
hands out its pages anew. A few sequences at a time say the same of each sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from .coordinates import comparable, in_coordinates
from .factors import Rows
from .jacobian import Jacobian, Route
from .pieces import joined
from .samples import Samples
from .task import KernelTask


class Passes:
    """The Jacobian of a model's outputs in its parameters at samples.

    values: f(x), [N, O]. routes: each parameter's, the costlier where passes differ.
    """

    def __init__(self, task: KernelTask, samples: Samples) -> None:
        """Run the task's model over the samples, a few at a time, and find the routes; raises what `Jacobian` raises."""
        self.samples, self.routes, self._passes = samples, dict[str, Route](), list[Jacobian]()
        for part in _parts(samples, task.in_a_pass):
            self._passes.append(Jacobian(task.model, part, task.read, task.parameters, self.routes, tensors=task.tensors))
            note(self.routes, self._passes[-1].routes)
        for own, uses in zip(self._passes, in_coordinates([own.uses for own in self._passes]), strict=True):
            own.uses = uses
        self.values: Tensor = torch.cat([own.values.detach() for own in self._passes])

    def rows(self, index: int) -> Iterator[tuple[str, Rows]]:
        """The gradient of each sample's output of this index, in each parameter that it may depend on, without dead positions."""
        if len(self._passes) == 1:  # one parameter after another, so that the rows of only one need be formed at a time
            yield from ((name, factor.alive()) for name, factor in self._passes[0].rows(index))
            return
        each = [{name: factor.alive() for name, factor in own.rows(index)} for own in self._passes]
        lengths = [len(own.samples) for own in self._passes]
        for name in dict.fromkeys(name for found in each for name in found):
            yield name, joined(comparable([found.pop(name, None) for found in each]), lengths)


def _parts(samples: Samples, most: int) -> list[Samples]:
    """The samples in passes of about equal size, of two at least: of one sample all rows would be formed, whatever their size."""
    count = len(samples)
    passes = max(1, min(-(-count // most), count // 2))
    ends = [count * done // passes for done in range(passes + 1)]
    return [samples[start:end] for start, end in pairwise(ends)]


def note(routes: dict[str, Route], found: dict[str, Route]) -> None:
    """Keep the costlier route where passes differ."""
    for name, route in found.items():
        if routes.get(name) != "alone":
            routes[name] = route if route != "unused" or name not in routes else routes[name]
