"""The tangent kernel as an operator: products with vectors from backward passes alone, without the matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...kernels.operators.operator import Operator
from .jacobian import Jacobian, Parameters, Route
from .plan import checked_output
from .samples import Read, Samples, last_position


class TangentKernelOperator(Operator):
    """Theta = J J^T of a model between samples, acting on vectors with an entry for each sample and output.

    Theta v = J (J^T v): one backward pass with weights v gives the direction J^T v in the parameters, and one backward pass an
    output gives every sample's slope along it, from what met each parameter and the gradient there. Neither vmap nor forward mode
    is used, so it works through custom kernels, and it is exact. Memory is that of one pass over a tile of samples and of the
    parameters twice, where the matrix needs (samples x outputs)^2.

    The trace over outputs is sum_o J_o (J_o^T v), two backward passes an output. routes: how each parameter's gradients are had,
    as in `tangent_kernel`. Everything is float64.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor | Samples,
        y: Tensor | Samples | None = None,
        output: str | int = "full",
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
        parameters, read: as for `tangent_kernel`. For one scalar a sample, such as the difference of two logits, every product
            costs two backward passes.
        tile: samples in a pass. Left out, one pass over all of them is kept; with tiles each product runs the model again.

        Raises what `tangent_kernel` raises.
        """
        self.self_adjoint = y is None
        self._model, self._read, self._parameters, self._tile, self.output = model, read, parameters, tile, output
        self._rows = Samples.of(x)
        self._columns = self._rows if y is None else Samples.of(y)
        self._kept: dict[tuple[int, int], Jacobian] = {}
        first = self._jacobian(self._rows, 0)
        self.routes: dict[str, Route] = dict(first.routes)
        self.all_outputs = first.values.shape[1]
        checked_output(output, self.all_outputs)
        self._device = first.values.device

    def _jacobian(self, samples: Samples, start: int) -> Jacobian:
        """The pass over the tile that starts here; kept where there is one tile alone."""
        place = (id(samples), start)
        if place in self._kept:
            return self._kept[place]
        with torch.inference_mode(False), torch.enable_grad():
            part = samples if self._tile is None else samples[start : start + self._tile]
            made = Jacobian(self._model, part, self._read, self._parameters, self.__dict__.get("routes"))
        if self._tile is None or len(samples) <= self._tile:
            self._kept[place] = made
        return made

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
        """Theta @ x for x [M O, m], at 1 + O backward passes a column, or [M, m] at two for each output that is counted."""
        self.check(x)
        with torch.inference_mode(False), torch.enable_grad():
            if self.output == "full":
                return self._product(x, list(range(self.all_outputs)))
            indices = range(self.all_outputs) if self.output == "trace" else [int(self.output) % self.all_outputs]
            return torch.stack([self._product(x, [index]) for index in indices]).sum(0)

    def _product(self, x: Tensor, indices: list[int]) -> Tensor:
        """J (J^T x) of these outputs, for all columns of x in one run over the tiles of each side."""
        weights = x.new_zeros(len(self._columns), self.all_outputs, x.shape[-1])
        weights[:, indices] = x.reshape(len(self._columns), len(indices), -1)
        directions: list[dict[str, Tensor]] = [{} for _ in range(x.shape[-1])]
        for start in self._starts(self._columns):
            jacobian = self._jacobian(self._columns, start)
            part = weights[start : start + len(jacobian.samples)]
            for column, found in enumerate(directions):
                for name, value in jacobian.pulled_back(part[..., column]).items():
                    found[name] = found[name] + value if name in found else value
        slopes = []
        for start in self._starts(self._rows):
            jacobian = self._jacobian(self._rows, start)
            along = [[jacobian.slopes(index, found) for found in directions] for index in indices]
            slopes.append(torch.stack([torch.stack(own, -1) for own in along], dim=1).detach())
        return torch.cat(slopes).flatten(0, 1)

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
