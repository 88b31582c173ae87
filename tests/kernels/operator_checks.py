"""What every operator must hold."""

from __future__ import annotations

import pytest
import torch

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
    with pytest.raises(ValueError, match="move one of them"):
        operator.matvec(torch.ones(columns, dtype=operator.dtype, device="meta"))
