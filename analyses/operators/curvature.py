"""Curvature of a loss in the parameters: the Hessian and the Gauss-Newton matrix as operators."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...kernels.arguments import NonFiniteError, check_finite
from ...kernels.operators.operator import Operator
from .evaluation_mode import refuse_training_mode
from .not_finite import finite_call, refuse_gradients, refuse_outputs
from .precise import precise, precise_tensors

Loss = Callable[[Tensor, Any], Tensor]  # (output of the model, targets) -> the mean over the batch, a scalar
Product = Callable[[Tensor], Tensor]  # from a vector [P] to the operator times it


class OfParameters(Operator):
    """An operator on the model's parameters that require gradients, one after another as one vector [P], in float64.

    parameters: the name and the place of each in the vector; a complex one has two numbers an entry. It is a mean over all
    batches, each weighted by its size, as one large batch has it.
    """

    self_adjoint = True

    def __init__(self, model: nn.Module, batches: Sequence[tuple[Tensor, Any]]) -> None:
        """Keep a float64 copy of the parameters and the batches.

        model: in evaluation mode; dropout or batch normalisation in training would give another operator at each product.
        batches: (inputs, targets) each; products run over all of them, one at a time.

        Raises ValueError for a model in training with such a module, one without parameters to count, or no batches; and
        NonFiniteError, which names the parameter or the batch and the place, for NaN and infinity. A product raises it where
        they arise in the model, in the loss, or in a derivative that there is not.
        """
        refuse_training_mode(model)
        if not batches or any(len(inputs) == 0 for inputs, _ in batches):
            raise ValueError("curvature needs at least one batch, and samples in each")
        self.model, self.batches = model, list(batches)
        for index, (inputs, targets) in enumerate(self.batches):
            given = {f"inputs of batch {index}": inputs, f"targets of batch {index}": targets}
            check_finite(**{name: value for name, value in given.items() if isinstance(value, Tensor)})
        trained, others = precise_tensors(model)
        self._complex = {name for name, own in trained.items() if own.is_complex()}
        pairs = {name: torch.view_as_real(trained[name].resolve_conj()) for name in self._complex}
        self.leaves = {name: pairs.get(name, own).requires_grad_() for name, own in trained.items()}
        self.tensors = others | self.leaves
        self.total = sum(len(inputs) for inputs, _ in self.batches)

    @property
    def parameters(self) -> dict[str, slice]:
        found, start = {}, 0
        for name, leaf in self.leaves.items():
            found[name] = slice(start, start + leaf.numel())
            start += leaf.numel()
        return found

    @property
    def shape(self) -> torch.Size:
        """The shape is [P, P], for P parameters."""
        return torch.Size([sum(leaf.numel() for leaf in self.leaves.values())] * 2)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return next(iter(self.leaves.values())).device

    def adjoint(self) -> Operator:
        return self

    def matmat(self, x: Tensor) -> Tensor:
        self.check(x)
        check_finite(vector=x)
        total = torch.zeros_like(x)
        with torch.enable_grad():
            for index, (inputs, targets) in enumerate(self.batches):
                product = self._of_batch(self._outputs(inputs, f" of batch {index}"), targets)
                total += len(inputs) / self.total * torch.stack([product(column) for column in x.unbind(-1)], dim=-1)
        return total

    @abstractmethod
    def _of_batch(self, outputs: Tensor, targets: Any) -> Product:
        """The batch's own operator. What all vectors share, such as the gradient, is differentiated once."""

    def _outputs(self, inputs: Tensor, within: str) -> Tensor:
        inputs, pairs = precise(inputs), {name: torch.view_as_complex(self.leaves[name]) for name in self._complex}
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            outputs: Tensor = finite_call(self.model, self.tensors | pairs, (inputs,))
        refuse_outputs(outputs, self.model, self.tensors | pairs, (inputs,), within)
        return outputs

    def _gradients(self, value: Tensor, weights: Tensor | None = None, *, again: bool = False) -> list[Tensor]:
        leaves = list(self.leaves.values())
        options = {"create_graph": again, "retain_graph": True, "allow_unused": True, "materialize_grads": True}
        found = list(torch.autograd.grad(value, leaves, weights, **options))
        refuse_gradients(dict(zip(self.leaves, found, strict=True)))
        return found

    def _along(self, gradients: Sequence[Tensor], vector: Tensor) -> Tensor:
        """The product of gradients, leaf by leaf, with a vector [P].

        Its parts are copies: complex numbers are read from real ones in pairs, which do not begin at an odd place.
        """
        parts = vector.split([leaf.numel() for leaf in self.leaves.values()])
        return torch.stack([(own.reshape(-1) * part.clone()).sum() for own, part in zip(gradients, parts, strict=True)]).sum()


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in gradients]).detach()


def _finite_loss(loss: Loss, outputs: Tensor, targets: Any) -> Tensor:
    value = loss(outputs, targets)
    if not bool(value.isfinite()):
        raise NonFiniteError(f"the loss is {value.item()}, of finite outputs and targets: it has no value there")
    return value


class InOutputs(OfParameters):
    """A mean of J_i^T C_i J_i, with J_i the Jacobian of the outputs and C_i a positive semidefinite matrix in the outputs."""

    def _of_batch(self, outputs: Tensor, targets: Any) -> Product:
        probe = torch.zeros_like(outputs, requires_grad=True)
        pulled = self._gradients(outputs, probe, again=True)

        def product(vector: Tensor) -> Tensor:
            along = self._along(pulled, vector)
            (moved,) = torch.autograd.grad(along, probe, retain_graph=True)  # J v, the derivative of J^T u by u along v
            return _flat(self._gradients(outputs, self._curved(outputs.detach(), targets, moved.detach())))

        return product

    @abstractmethod
    def _curved(self, outputs: Tensor, targets: Any, moved: Tensor) -> Tensor:
        """C times how the outputs of a batch move, of their shape."""


class Hessian(OfParameters):
    """H = d^2 loss / d parameters^2, by differentiating the gradient along the vector (Pearlmutter 1994)."""

    def __init__(self, model: nn.Module, loss: Loss, batches: Sequence[tuple[Tensor, Any]]) -> None:
        """Keep a float64 copy of the parameters and the batches.

        model, batches: as every operator on parameters has them. loss: (output, targets) to the mean loss of the batch.
        """
        super().__init__(model, batches)
        self.loss = loss

    def _of_batch(self, outputs: Tensor, targets: Any) -> Product:
        gradients = self._gradients(_finite_loss(self.loss, outputs, targets), again=True)
        return lambda vector: _flat(self._gradients(self._along(gradients, vector)))


class GaussNewton(InOutputs):
    """G = sum_i J_i^T (d^2 loss / d f^2) J_i, the Hessian of the loss with the model linearised (Schraudolph 2002).

    It is positive semidefinite for a loss that is convex in the outputs. For the cross-entropy of a softmax it equals the
    `Fisher` information of the model's own labels (Martens 2020, arXiv:1412.1193); for half the squared error its eigenvalues
    other than zero are those of the tangent kernel over N.
    """

    def __init__(self, model: nn.Module, loss: Loss, batches: Sequence[tuple[Tensor, Any]]) -> None:
        """Keep a float64 copy of the parameters and the batches.

        model, batches: as every operator on parameters has them. loss: (output, targets) to the mean loss of the batch.
        """
        super().__init__(model, batches)
        self.loss = loss

    def _curved(self, outputs: Tensor, targets: Any, moved: Tensor) -> Tensor:
        still = outputs.requires_grad_()
        (slope,) = torch.autograd.grad(_finite_loss(self.loss, still, targets), still, create_graph=True)
        (curved,) = torch.autograd.grad(slope, still, moved, allow_unused=True, materialize_grads=True)
        if not bool(curved.isfinite().all()):
            raise NonFiniteError("the loss has no second derivative at these outputs, such as a root or a norm of zero")
        return curved
