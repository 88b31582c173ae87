"""The tangent kernel as an operator: products with vectors from backward passes alone, without the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ...kernels.operators.operator import Operator
from .factors import Factor
from .jacobian import Jacobian, Parameters, Route
from .plan import checked_output
from .samples import Read, Samples, last_position
from .task import AT_ONCE, Output, as_output, as_tile

Group = Callable[[str], str]  # from a parameter's name to that of its group


class TangentKernelOperator(Operator):
    """Theta = J J^T of a model between samples, acting on vectors with an entry for each sample and output.

    Theta v = J (J^T v): one backward pass with weights v gives the direction J^T v in the parameters, and one backward pass an
    output gives every sample's slope along it, from what met each parameter and the gradient there. Neither vmap nor forward mode
    is used, so it works through custom kernels, and it is exact. Memory is that of one pass over a tile of samples and of a
    direction in the parameters for each of up to 32 columns, where the matrix needs (samples x outputs)^2.

    Columns share the model's runs, and the backward passes of the slopes. Where they outnumber the outputs that are
    differentiated, they share those of the directions too: what a backward pass of an output says of each sample is added up
    with each column's weights. So a block of columns costs little more than one vector, which `top_eigenpairs` makes use of by
    `block`. What is said of the samples is kept while all of them are one tile and one output is counted: it is as large as what
    the pass keeps, and products after the first then take no backward pass at all.

    The trace over outputs is sum_o J_o (J_o^T v), output by output. routes: how each parameter's gradients are had, as in
    `tangent_kernel`. Everything is float64.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor | Samples,
        y: Tensor | Samples | None = None,
        output: Output = "full",
        *,
        parameters: Parameters = None,
        read: Read = last_position,
        tile: int | None = None,
    ) -> None:
        """Run the model once over each tile of samples.

        model: in evaluation mode; it is left as it is.
        x: the samples of the rows, first axis [N, ...].
        y: those of the columns; left out, they are x, and the operator is self-adjoint.
        output: "full" acts on vectors [M O], the outputs of one sample next to each other; "trace" and one output's index on [M].
        parameters, read: as for `tangent_kernel`. For one scalar a sample, such as the difference of two logits, a product costs
            two backward passes.
        tile: samples in a pass. Left out, one pass over all of them is kept; with tiles each product runs the model again.

        Raises ValueError for a tile that is no positive whole number, and what `tangent_kernel` raises.
        """
        tile = None if tile is None else as_tile(tile)
        output = as_output(output)
        self.self_adjoint = y is None
        self._model, self._read, self._parameters, self._tile, self.output = model, read, parameters, tile, output
        self._rows = Samples.of(x)
        self._columns = self._rows if y is None else Samples.of(y)
        self._kept: dict[tuple[int, int], Jacobian] = {}
        self._routes_of: dict[tuple[int, int], dict[str, Route]] = {}
        self._said: dict[tuple[int, int], tuple[int, list[tuple[str, Factor]]]] = {}
        first = self._jacobian(self._rows, 0)
        self.routes: dict[str, Route] = dict(first.routes)
        self.all_outputs = first.values.shape[1]
        checked_output(output, self.all_outputs)
        self._device = first.values.device

    @property
    def _each(self) -> int:
        """Entries of a vector for each sample."""
        return self.all_outputs if self.output == "full" else 1

    @property
    def shape(self) -> torch.Size:
        """The shape is [N, M], or [N O, M O] with the outputs of one sample next to each other."""
        return torch.Size([len(self._rows) * self._each, len(self._columns) * self._each])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return self._device

    def matmat(self, x: Tensor) -> Tensor:
        """Theta @ x for x [M O, m], or [M, m] for the trace and one output."""
        return self.parts(x, lambda name: "all")["all"]

    def parts(self, x: Tensor, group: Group) -> dict[str, Tensor]:
        """Theta @ x of each group of parameters alone, which add up to the whole's: each of the shape of the product.

        group: from the name of a parameter that is counted to that of its group.
        """
        self.check(x)
        if self.output == "full":
            sets = [list(range(self.all_outputs))]
        elif self.output == "trace":
            sets = [[index] for index in range(self.all_outputs)]
        else:
            sets = [[int(self.output) % self.all_outputs]]
        found = {group(name): x.new_zeros(self.shape[0], x.shape[1]) for name in self.routes}
        with torch.inference_mode(False), torch.enable_grad():
            for start in range(0, x.shape[1], AT_ONCE):
                columns = slice(start, start + AT_ONCE)
                for indices in sets:
                    directions = self._directions(x[:, columns], indices)
                    self._add_slopes(directions, indices, group, {name: part[:, columns] for name, part in found.items()})
        return found

    def _directions(self, x: Tensor, indices: list[int]) -> dict[str, Tensor]:
        """J^T x of these outputs, of each parameter [numbers, m], in one run over the tiles of the columns' samples."""
        weights = x.new_zeros(len(self._columns), self.all_outputs, x.shape[1])
        weights[:, indices] = x.reshape(len(self._columns), len(indices), -1)
        by_sample = x.shape[1] > len(indices) or (len(indices) == 1 and self._in_one(self._columns))
        directions: dict[str, Tensor] = {}
        for start in self._starts(self._columns):
            part = weights[start : start + (self._tile or len(self._columns))]
            found = self._pulled_by_sample(start, part, indices) if by_sample else self._pulled_by_column(start, part)
            for name, value in found:
                directions[name] = directions[name] + value if name in directions else value
        return directions

    def _pulled_by_column(self, start: int, weights: Tensor) -> Iterable[tuple[str, Tensor]]:
        jacobian = self._jacobian(self._columns, start)
        each = [jacobian.pulled_back(column) for column in weights.unbind(-1)]
        return [(name, torch.stack([found[name] for found in each], dim=1)) for name in each[0]]

    def _pulled_by_sample(self, start: int, weights: Tensor, indices: list[int]) -> Iterable[tuple[str, Tensor]]:
        for index in indices:
            for name, factor in self._said_of(self._columns, start, index, keep=len(indices) == 1):
                yield name, factor.pulled(weights[:, index])

    def _add_slopes(self, directions: dict[str, Tensor], indices: list[int], group: Group, to: dict[str, Tensor]) -> None:
        """Add J d of these outputs to what each group has [N O, m], in one run over the tiles of the rows' samples."""
        for start in self._starts(self._rows):
            for place, index in enumerate(indices):
                for name, factor in self._said_of(self._rows, start, index, keep=len(indices) == 1):
                    if name in directions:
                        first = start * len(indices) + place
                        its = to[group(name)][first : first + factor.samples * len(indices) : len(indices)]
                        its += factor.along(directions[name]).detach()

    def _said_of(self, samples: Samples, start: int, index: int, *, keep: bool) -> Iterable[tuple[str, Factor]]:
        """What the gradient of an output says of each sample of the tile that starts here, parameter by parameter.

        keep: of samples in one tile keep it, in its smallest form, until another output is asked for.
        """
        place = (id(samples), start)
        if place in self._said and self._said[place][0] == index:
            return self._said[place][1]
        rows = self._jacobian(samples, start).rows(index)
        if not keep or not self._in_one(samples):
            return rows
        self._said.pop(place, None)
        self._said[place] = index, [(name, factor.smallest()) for name, factor in rows]
        return self._said[place][1]

    def _jacobian(self, samples: Samples, start: int) -> Jacobian:
        """The pass over the tile that starts here; kept where there is one tile alone."""
        place = (id(samples), start)
        if place in self._kept:
            return self._kept[place]
        with torch.inference_mode(False), torch.enable_grad():
            part = samples if self._tile is None else samples[start : start + self._tile]
            known = self._routes_of.get(place)
            routes = self.__dict__.get("routes") if known is None else known
            made = Jacobian(self._model, part, self._read, self._parameters, routes, checked=known is not None)
        self._routes_of[place] = made.routes
        if self._in_one(samples):
            self._kept[place] = made
        return made

    def _in_one(self, samples: Samples) -> bool:
        return self._tile is None or len(samples) <= self._tile

    def _starts(self, samples: Samples) -> range:
        return range(0, len(samples), self._tile or len(samples))

    def adjoint(self) -> TangentKernelOperator:
        if self.self_adjoint:
            return self
        return TangentKernelOperator(
            self._model,
            self._columns,
            self._rows,
            self.output,
            parameters=self._parameters,
            read=self._read,
            tile=self._tile,
        )
