"""The protocol of operators, and the check that a wrong one fails."""

from __future__ import annotations

import pytest
import torch
from operator_checks import check_operator
from torch import Tensor

from statescope.kernels.operators.dense import DenseOperator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 6, 3)])
def test_a_matrix_is_an_operator(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = torch.randn(*shape, dtype=dtype)
    check_operator(DenseOperator(matrix))
    if shape[-1] == shape[-2]:
        check_operator(DenseOperator(matrix + matrix.mH))
        assert DenseOperator(matrix + matrix.mH).self_adjoint
        assert not DenseOperator(matrix).self_adjoint
        with pytest.raises(ValueError, match="not self-adjoint"):
            DenseOperator(matrix, self_adjoint=True)


class TransposedWithoutConjugate(DenseOperator):
    """Right for real numbers, wrong for complex ones."""

    def adjoint(self) -> DenseOperator:
        return DenseOperator(self.matrix.mT)


class Affine(DenseOperator):
    """No linear map."""

    def matmat(self, x: Tensor) -> Tensor:
        self.check(x)
        return super().matmat(x) + 1


def test_wrong_operators_fail_the_check() -> None:
    check_operator(TransposedWithoutConjugate(torch.randn(4, 3)))
    for wrong in (TransposedWithoutConjugate(torch.randn(4, 3, dtype=torch.complex64)), Affine(torch.randn(4, 3))):
        with pytest.raises(AssertionError):
            check_operator(wrong)
    with pytest.raises(ValueError, match="needs a matrix"):
        DenseOperator(torch.ones(3))
