"""A network to first order in its parameters, as a model that can be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..operators.evaluation_mode import refuse_training_mode
from .task_vectors import Vector


class TangentModel(nn.Module):
    """f(x; theta_0) + J(x; theta_0) delta: the tangent of a model at theta_0, linear in what is trained, delta.

    delta starts at zero and has the names of the model's parameters, with "_" for "." (Ortiz-Jimenez, Favero and Frossard 2023,
    arXiv:2305.12827). Training it is descent with the tangent kernel. J delta is the derivative of J^T u by u along delta: two
    backward passes and no forward mode, so that it goes through custom kernels.
    """

    def __init__(self, model: nn.Module) -> None:
        """Keep the parameters that require gradients as theta_0.

        Raises ValueError for a model that has none, and for one with two whose names are one with "_" for ".".
        """
        super().__init__()
        self._model = [model]  # in a list, so that its parameters are not this module's
        self.start = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
        if not self.start:
            raise ValueError("no parameter of the model has requires_grad")
        self.delta = nn.ParameterDict({_plain(name): torch.zeros_like(value) for name, value in self.start.items()})
        if len(self.delta) < len(self.start):
            raise ValueError(f"two parameters are one with '_' for '.', of {sorted(self.start)}; give one of them another name")

    def forward(self, *inputs: Tensor) -> Tensor:
        """The outputs of the tangent, shaped as the model's."""
        return self.predict({name: self.delta[_plain(name)] for name in self.start}, *inputs)

    def predict(self, vector: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
        """The outputs with a task vector, by the model's own names, in the place of delta.

        Raises ValueError for a vector of other parameters or shapes, and for a model in training with dropout or batch
        normalisation, whose tangent would be another at each pass.
        """
        refuse_training_mode(self._model[0])
        if {name: value.shape for name, value in vector.items()} != {name: value.shape for name, value in self.start.items()}:
            raise ValueError(f"a task vector has the parameters {sorted(self.start)} in their shapes, got {sorted(vector)}")
        leaves = {name: value.detach().requires_grad_() for name, value in self.start.items()}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            outputs: Tensor = functional_call(self._model[0], leaves, inputs)
            along = _Slope.along((outputs, list(leaves.values())), [vector[name].to(own) for name, own in self.start.items()])
        return outputs.detach() + along

    def task_vector(self) -> Vector:
        """What has been learnt, by the model's own names."""
        return {name: self.delta[_plain(name)].detach().clone() for name in self.start}


class _Slope(torch.autograd.Function):
    """J v of outputs with a graph to leaves, for v of one tensor a leaf; its gradient in v is J^T."""

    @classmethod
    def along(cls, graph: tuple[Tensor, list[Tensor]], vector: Sequence[Tensor]) -> Tensor:
        found: Tensor = cls.apply(graph, *vector)  # type: ignore[no-untyped-call]
        return found

    @staticmethod
    def forward(context: Any, graph: tuple[Tensor, list[Tensor]], *vector: Tensor) -> Tensor:
        context.graph = graph
        with torch.enable_grad():
            probe = torch.zeros_like(graph[0], requires_grad=True)
            pulled = _pulled(graph, probe, again=True)
            along = torch.stack([(own.conj() * part).real.sum() for own, part in zip(pulled, vector, strict=True)]).sum()
            return torch.autograd.grad(along, probe, allow_unused=True, materialize_grads=True)[0].detach()

    @staticmethod
    def backward(context: Any, *weights: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_pulled(context.graph, weights[0], again=torch.is_grad_enabled())


def _pulled(graph: tuple[Tensor, list[Tensor]], weights: Tensor, *, again: bool) -> tuple[Tensor, ...]:
    """J^T w. again: whether it can be differentiated by w."""
    outputs, leaves = graph
    return torch.autograd.grad(
        outputs, leaves, weights, retain_graph=True, create_graph=again, allow_unused=True, materialize_grads=True
    )


def _plain(name: str) -> str:
    return name.replace(".", "_")
