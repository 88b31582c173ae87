"""Third-order attention against sums over pairs in numpy, and its polynomial form against the polynomial."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from statescope.kernels.triple_attention import triple_attention

BATCH, LENGTH, HEADS, SIZE, VALUES = 2, 7, 3, 4, 5


def drawn(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = (SIZE, SIZE, SIZE, VALUES, VALUES)
    return [torch.randn(BATCH, LENGTH, HEADS, size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes]


def pair_by_pair(inputs: list[Tensor], weight: Callable[[float], float], scale: float) -> NDArray[np.float64]:
    q, k, p, v, w = (x.numpy() for x in inputs)
    out = np.zeros_like(v)
    for b, i, h in np.ndindex(BATCH, LENGTH, HEADS):
        total = 0.0
        for j, other in np.ndindex(i + 1, i + 1):
            own = weight(scale * float((q[b, i, h] * k[b, j, h] * p[b, other, h]).sum()))
            out[b, i, h] += own * v[b, j, h] * w[b, other, h]
            total += own
        out[b, i, h] /= total
    return out


@pytest.mark.parametrize("scale", [None, 1.0, 3.0])
def test_all_pairs(scale: float | None) -> None:
    inputs = drawn()
    expected = pair_by_pair(inputs, math.exp, 1 / SIZE if scale is None else scale)
    np.testing.assert_allclose(triple_attention(*inputs, scale=scale).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 4])
def test_the_polynomial(degree: int) -> None:
    inputs = drawn()
    expected = pair_by_pair(inputs, lambda s: sum(s**n / math.factorial(n) for n in range(degree + 1)), 0.2)
    np.testing.assert_allclose(triple_attention(*inputs, scale=0.2, degree=degree).numpy(), expected, rtol=1e-9, atol=1e-11)


def test_the_polynomial_comes_near_as_its_degree_grows() -> None:
    inputs = [x.clamp(-1, 1) for x in drawn()]
    truth = triple_attention(*inputs, scale=1.0)
    errors = [float((triple_attention(*inputs, scale=1.0, degree=degree) - truth).norm()) for degree in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3 * float(truth.norm())


def test_no_token_reads_what_comes_later() -> None:
    inputs = drawn()
    for degree in (None, 2):
        whole = triple_attention(*inputs, degree=degree)
        torch.testing.assert_close(whole[:, :4], triple_attention(*(x[:, :4] for x in inputs), degree=degree))


def test_gradients_and_dtypes() -> None:
    inputs = [x[:1, :4, :1].requires_grad_() for x in drawn()]
    assert torch.autograd.gradcheck(triple_attention, inputs)
    assert torch.autograd.gradcheck(lambda *x: triple_attention(*x, degree=2, scale=0.2), inputs)
    assert triple_attention(*drawn(dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_bad_input() -> None:
    q, k, p, v, w = drawn()
    with pytest.raises(ValueError, match="its axis 3"):
        triple_attention(q, k, p[..., :2], v, w)
    with pytest.raises(ValueError, match="w has shape"):
        triple_attention(q, k, p, v, w[:, :3])
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        triple_attention(q, k, p, v, w, degree=-1)
    with pytest.raises(ValueError):
        triple_attention(q, k * torch.nan, p, v, w)
