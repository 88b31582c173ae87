"""Third-order attention: a token attends to pairs of tokens (Alman and Song 2023, arXiv:2310.04064).

    score_i(j, l) = c sum_d q_id k_jd p_ld        o_i = sum_{j, l <= i} softmax_{j, l}(score_i) v_j * w_l

with * channel by channel: the scores are Q (K row-wise Kronecker P)^T, and the values of pairs V row-wise Kronecker W. All pairs
cost O(T^3). The polynomial form takes sum_{n <= degree} s^n / n! for e^s. Its monomials of a product k * p are the products of
theirs, so a sum over pairs is the product of two sums over tokens,

    o_i = phi(q_i)^T ((sum_j phi(k_j) v_j^T) * (sum_l phi(p_l) w_l^T)) / phi(q_i)^T ((sum_j phi(k_j)) * (sum_l phi(p_l)))

and the whole costs O(T C(K + degree, degree) V): two additive states, of which a token reads the product.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .precision import outside_autocast, widened


@outside_autocast
def triple_attention(
    q: Tensor, k: Tensor, p: Tensor, v: Tensor, w: Tensor, *, scale: float | None = None, degree: int | None = None
) -> Tensor:
    """Attend to pairs of tokens up to one's own: [B, T, H, V], in the dtype of q; computed in float32 at least.

    q, k, p: [B, T, H, K]; a pair's key is the product of k of its first token and p of its second, channel by channel.
    v, w: [B, T, H, V]; a pair's value is the product of v of its first token and w of its second.
    scale: of the scores, c above; 1 / K, the paper's, where it is None.
    degree: of the polynomial in place of the exponential; None computes every pair, a token's O(T^2) at a time. A polynomial is
        near where the scores are small, and its weights may be negative where its degree is odd.

    Raises ValueError for shapes that disagree, entries that are not finite, and a degree below 0.
    """
    if degree is not None and degree < 0:
        raise ValueError(f"degree must be at least 0, got {degree}")
    check_finite(q=q, k=k, p=p, v=v, w=w)
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), p=(p, "B T H K"), v=(v, "B T H V"), w=(w, "B T H V"))
    scaled = widened(q) * (1 / q.shape[-1] if scale is None else scale)
    k, p, v, w = (widened(x) for x in (k, p, v, w))
    found = _by_pairs(scaled, k, p, v, w) if degree is None else _by_polynomial(scaled, k, p, v, w, degree)
    return found.to(q.dtype)


def _by_pairs(q: Tensor, k: Tensor, p: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """What each token reads of the pairs up to it, a token at a time, of which the weights [B, H, t, t] are held."""
    read = []
    for t in range(q.shape[1]):
        keys, others, values, beside = (x[:, : t + 1] for x in (k, p, v, w))
        weights = _scores(q[:, t], keys, others).flatten(2).softmax(-1).unflatten(2, (t + 1, t + 1))
        read.append(torch.einsum("bhjl,bjhv,blhv->bhv", weights, values, beside))
    return torch.stack(read, 1)


def _scores(q: Tensor, k: Tensor, p: Tensor) -> Tensor:
    return torch.einsum("bhd,bjhd,blhd->bhjl", q, k, p)


def _by_polynomial(q: Tensor, k: Tensor, p: Tensor, v: Tensor, w: Tensor, degree: int) -> Tensor:
    powers = _powers(q.shape[-1], degree).to(q.device)
    factorials = torch.tensor([math.prod(math.factorial(n) for n in row) for row in powers.tolist()], device=q.device)
    asked = _monomials(q, powers) / factorials
    first, second = (
        torch.einsum(
            "bthm,bthv->bthmv", _monomials(keys, powers), torch.cat([values, torch.ones_like(values[..., :1])], -1)
        ).cumsum(1)
        for keys, values in ((k, v), (p, w))
    )
    read = torch.einsum("bthm,bthmv->bthv", asked, first * second)
    return read[..., :-1] / read[..., -1:]


def _powers(size: int, degree: int) -> Tensor:
    """The exponents of each monomial in `size` variables up to a degree, [C(size + degree, degree), size]."""
    chosen = combinations_with_replacement(range(size + 1), degree)  # the last place stands for none
    return torch.tensor([[row.count(one) for one in range(size)] for row in chosen]).view(-1, size)


def _monomials(x: Tensor, powers: Tensor) -> Tensor:
    return x[..., None, :].pow(powers).prod(-1)
