"""Own autograd functions under forward mode, once and again: all orders of two derivatives agree."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from statescope.kernels.chunked.triangular import unit_lower_inverse
from statescope.probe.mixers.base import CausalConvolution, RMSNorm, sum_of_squares
from statescope.probe.mixers.delta_net import unit

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "sum of squares": (lambda x: sum_of_squares(x.sin()), (4,)),
    "unit": (unit, (2, 3)),
    "norm": (RMSNorm(3).double(), (2, 3)),
    "convolution": (lambda x: CausalConvolution.apply(x.sin(), x[:, :3]), (2, 5, 2)),  # type: ignore[no-untyped-call]
    "inverse": (lambda x: unit_lower_inverse(0.3 * x), (2, 4, 4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives_agree_in_every_order_of_modes(name: str) -> None:
    """Of which torch makes forward over forward zero for a function of one's own, without a word."""
    function, shape = FUNCTIONS[name]
    x = torch.randn(3, *shape, dtype=torch.float64)
    exact = torch.stack([jacrev(jacrev(function))(own) for own in x])
    assert exact.abs().max() > 0.01
    for outer, inner in ((jacfwd, jacfwd), (jacfwd, jacrev), (jacrev, jacfwd)):
        torch.testing.assert_close(outer(inner(function))(x[0]), exact[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(vmap(outer(inner(function)))(x), exact, rtol=1e-12, atol=1e-12)


def test_third_derivatives_by_forward_mode_alone() -> None:
    x = torch.randn(3, dtype=torch.float64)
    exact = jacrev(jacrev(jacrev(unit)))(x)
    torch.testing.assert_close(jacfwd(jacfwd(jacfwd(unit)))(x), exact, rtol=1e-12, atol=1e-12)
