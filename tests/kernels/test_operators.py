"""The protocol of operators, and the check that a wrong one fails."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statescope.kernels.operators.dense import DenseOperator
from statescope.kernels.operators.operator import Operator


def check_operator(operator: Operator) -> None:
    """What every operator must hold: the adjoint is one, columns are treated alike, and `dense` is what it does."""
    *batch, rows, columns = operator.shape
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(*batch, columns, 3, generator=generator, dtype=operator.dtype)
    y = torch.randn(*batch, rows, 3, generator=generator, dtype=operator.dtype)
    image, back = operator.matmat(x), operator.adjoint().matmat(y)
    torch.testing.assert_close((image.conj() * y).sum((-2, -1)), (x.conj() * back).sum((-2, -1)))
    torch.testing.assert_close(torch.stack([operator.matvec(x[..., i]) for i in range(3)], -1), image)
    torch.testing.assert_close(operator.dense() @ x, image)
    torch.testing.assert_close(operator.adjoint().dense(), operator.dense().mH)
    assert image.dtype == operator.dtype
    if operator.self_adjoint:
        torch.testing.assert_close(operator.dense(), operator.dense().mH)
    with pytest.raises(ValueError, match="cannot be applied to"):
        operator.matvec(torch.ones(columns + 1, dtype=operator.dtype))
    with pytest.raises(ValueError, match="convert one of them"):
        operator.matvec(torch.ones(columns, dtype=torch.float16))


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
