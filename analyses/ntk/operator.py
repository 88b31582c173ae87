"""The tangent kernel as an operator: products with vectors from backward passes alone, without the matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...kernels.operators.operator import Operator
from .jacobian import Jacobian, Read, Route, last_position, refuse_coupled_modules


class TangentKernelOperator(Operator):
    """Theta = J J^T of a model on samples, acting on vectors with an entry for each sample and output.

    Theta v = J (J^T v): one backward pass with weights v gives the direction J^T v in the parameters, and one backward pass an
    output gives every sample's slope along it, from what entered each module and the gradient of what left it. Neither vmap nor
    forward mode is used, so it works through custom kernels, and it is exact. Memory is that of one pass over the samples and of
    the parameters twice, where the matrix needs (samples x outputs)^2.

    routes: how each parameter's gradients are had, as in `tangent_kernel`. Everything is float64.
    """

    self_adjoint = True

    def __init__(self, model: nn.Module, x: Tensor, *, read: Read = last_position) -> None:
        """Run the model once and keep the pass.

        model: in evaluation mode; it is left as it is.
        x: the samples, first axis [N, ...].
        read: from the model's output to f [N, O]. For one scalar a sample, such as the difference of two logits, every product
            costs two backward passes.

        Raises what `tangent_kernel` raises.
        """
        refuse_coupled_modules(model)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().double() if x.is_floating_point() else x.detach().clone()
            self.jacobian = Jacobian(model, x, read)
        self.samples, self.outputs = self.jacobian.values.shape

    @property
    def routes(self) -> dict[str, Route]:
        return self.jacobian.routes

    @property
    def shape(self) -> torch.Size:
        """The shape is [N O, N O], with the outputs of one sample next to each other."""
        return torch.Size([self.samples * self.outputs] * 2)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return self.jacobian.values.device

    def matmat(self, x: Tensor) -> Tensor:
        """Theta @ x for x [N O, m], at 1 + O backward passes a column."""
        self.check(x)
        return torch.stack([self._product(column) for column in x.unbind(-1)], dim=-1)

    def _product(self, v: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            direction = self.jacobian.pulled_back(v.reshape(self.samples, self.outputs))
            slopes = [self.jacobian.slopes(index, direction) for index in range(self.outputs)]
        return torch.stack(slopes, dim=1).detach().reshape(-1)

    def adjoint(self) -> TangentKernelOperator:
        return self
