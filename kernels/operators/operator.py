"""The protocol of linear operators. Every spectral algorithm takes an operator, and nothing else of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Operator(ABC):
    """A linear map of vectors [..., columns] to vectors [..., rows], real or complex.

    A class that derives from it gives `shape`, `dtype`, `device`, `matmat` and `adjoint`; and `self_adjoint` where it holds.
    Leading axes of `shape` are a batch of operators, and broadcast against the vectors' own.
    """

    self_adjoint: bool = False  # whether <x, A y> = <A x, y>: algorithms for symmetric problems ask for it

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """The shape is [..., rows, columns]."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the vectors that come out."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device on which vectors must lie."""

    @abstractmethod
    def matmat(self, x: Tensor) -> Tensor:
        """A @ x for x [..., columns, m]: [..., rows, m]."""

    @abstractmethod
    def adjoint(self) -> Operator:
        """A^*, with <A x, y> = <x, A^* y>; for a self-adjoint operator that is itself."""

    def matvec(self, x: Tensor) -> Tensor:
        """A @ x for x [..., columns]: [..., rows]. Raises ValueError for a vector of another size or kind of number."""
        return self.matmat(x[..., None])[..., 0]

    def dense(self) -> Tensor:
        """The matrix, [..., rows, columns], by applying the operator to the identity."""
        columns = self.shape[-1]
        return self.matmat(torch.eye(columns, dtype=self.dtype, device=self.device))

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless x [..., columns, m] is something that this operator can be applied to."""
        if x.ndim < 2 or x.shape[-2] != self.shape[-1]:
            raise ValueError(f"{type(self).__name__} of shape {list(self.shape)} cannot be applied to {list(x.shape)}")
        if x.dtype != self.dtype and not (x.is_complex() and x.real.dtype == self.dtype):
            raise ValueError(f"{type(self).__name__} of {self.dtype} cannot be applied to {x.dtype}; convert one of them")
        if x.device != self.device:
            raise ValueError(f"{type(self).__name__} on {self.device} cannot be applied to {x.device}; move one of them")


def square_self_adjoint(operator: Operator, what: str) -> int:
    """The size of a self-adjoint operator without batch axes. Raises ValueError, naming the algorithm `what`, for any other."""
    if len(operator.shape) != 2 or operator.shape[0] != operator.shape[1]:
        raise ValueError(f"{what} needs one square operator, got shape {list(operator.shape)}")
    if not operator.self_adjoint:
        raise ValueError(f"{what} needs a self-adjoint operator; {type(operator).__name__} is not known to be one")
    return int(operator.shape[0])
