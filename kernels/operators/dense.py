"""A matrix as an operator."""

from __future__ import annotations

import torch
from torch import Tensor

from .operator import Operator


class DenseOperator(Operator):
    """The operator of a matrix [..., rows, columns]."""

    def __init__(self, matrix: Tensor, *, self_adjoint: bool | None = None) -> None:
        """Wrap a matrix.

        matrix: [..., rows, columns].
        self_adjoint: whether it equals its conjugate transpose; left out, it is compared, to the bit.

        Raises ValueError for what is no matrix, or where `self_adjoint=True` is claimed of one that is not, by more than
        rounding: 1e-6 of its norm.
        """
        if matrix.ndim < 2:
            raise ValueError(f"an operator needs a matrix [..., rows, columns], got {list(matrix.shape)}")
        square = matrix.shape[-1] == matrix.shape[-2]
        if self_adjoint and not (square and float((matrix - matrix.mH).norm()) <= 1e-6 * float(matrix.norm())):
            raise ValueError("the matrix is not self-adjoint")
        self.matrix = matrix
        self.self_adjoint = (square and torch.equal(matrix, matrix.mH)) if self_adjoint is None else self_adjoint

    @property
    def shape(self) -> torch.Size:
        return self.matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    def matmat(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.matrix.to(x.dtype) @ x

    def adjoint(self) -> DenseOperator:
        return self if self.self_adjoint else DenseOperator(self.matrix.mH, self_adjoint=False)

    def dense(self) -> Tensor:
        return self.matrix
