"""HiPPO: the matrices A, B of x' = A x + B u whose state holds the coefficients of u's past in a polynomial or Fourier basis.

Gu et al. 2020 (arXiv:2008.07669) and 2022 (arXiv:2206.12037). N states throughout; all in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from ...kernels.precision import outside_autocast
from ..errors import unknown_name

System = tuple[Tensor, Tensor]


def legs(size: int) -> System:
    """LegS, scaled Legendre: A_nk = -sqrt((2n+1)(2k+1)) for n > k, -(n+1) on the diagonal, 0 above; B_n = sqrt(2n+1).

    Its kernels are (e^{tA} B)_n = sqrt(2n+1) L_n(2 e^{-t} - 1) e^{-t}: Legendre polynomials in exponentially warped time.
    """
    root = (2 * torch.arange(size, dtype=torch.float64) + 1).sqrt()
    a = -(root[:, None] * root).tril(-1) - torch.diag(torch.arange(1, size + 1, dtype=torch.float64))
    return a, root


def legt(size: int) -> System:
    """LegT, translated Legendre over a window of length 1: A_nk = -r_n r_k (1 if k <= n, else (-1)^{n-k}), r = sqrt(2n+1)."""
    order = torch.arange(size, dtype=torch.float64)
    root = (2 * order + 1).sqrt()
    sign = torch.where(order[:, None] >= order, 1.0, (-1.0) ** (order[:, None] - order).abs())
    return -root[:, None] * sign * root, root


def fout(size: int) -> System:
    """FouT, truncated Fourier over a window of length 1, in pairs of cosine and sine; size even."""
    if size % 2:
        raise ValueError(f"size={size}: the truncated Fourier system has pairs, and needs an even size")
    b = torch.zeros(size, dtype=torch.float64)
    b[::2] = 2**0.5
    b[0] = 1
    a = -2 * b[:, None] * b
    frequency = 2 * pi * torch.arange(size // 2, dtype=torch.float64)
    for n in range(size // 2):
        a[2 * n, 2 * n + 1] += -frequency[n]
        a[2 * n + 1, 2 * n] += frequency[n]
    return a, 2 * b


SYSTEMS: dict[str, Callable[[int], System]] = {"legs": legs, "legt": legt, "fout": fout}


def system(name: str, size: int) -> System:
    """A [N, N] and B [N] by name. Raises UnknownNameError with the nearest name."""
    if name not in SYSTEMS:
        raise unknown_name("HiPPO system", name, SYSTEMS)
    return SYSTEMS[name](size)


SHARES = {"euler": 0.0, "backward": 1.0, "bilinear": 0.5}
RULES = (*SHARES, "zoh")


@outside_autocast
def discretise(a: Tensor, b: Tensor, step: float | Tensor, rule: str = "bilinear") -> System:
    """Compute A_bar [..., N, N] and B_bar [..., N] of x_t = A_bar x_{t-1} + B_bar u_t.

    step: d, a number or one for each system [...].
    rule: "euler", "backward", "bilinear" or "zoh" (exact for a held u). The first three are the generalised bilinear transform
    (I - alpha d A)^{-1} (I + (1 - alpha) d A), (I - alpha d A)^{-1} d B, with alpha 0, 1 and 1/2 (Gu et al. 2021,
    arXiv:2110.13985).
    """
    d = torch.as_tensor(step, dtype=a.dtype, device=a.device)[..., None, None]
    stepped, driven = d * a, d * b[:, None]
    if rule == "zoh":
        together = torch.nn.functional.pad(torch.cat([stepped, driven], dim=-1), (0, 0, 0, 1))
        whole = torch.linalg.matrix_exp(together)
        return whole[..., :-1, :-1], whole[..., :-1, -1]
    if rule not in SHARES:
        raise unknown_name("discretisation rule", rule, RULES)
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device)
    implicit = eye - SHARES[rule] * stepped
    into = torch.linalg.solve(implicit, torch.cat([eye + (1 - SHARES[rule]) * stepped, driven], dim=-1))
    return into[..., :-1], into[..., -1]


def krylov(a: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
    """The kernel K_t = c . A^t b, t = 0 .. length - 1, of a discrete system: [length]."""
    columns, column = [], b
    for _ in range(length):
        columns.append(column)
        column = a @ column
    return torch.stack(columns) @ c


def legs_diagonal(size: int) -> Tensor:
    """Eigenvalues of LegS's normal part, those with positive imaginary part: [N / 2] complex (S4D-LegS, arXiv:2206.11893)."""
    a, b = legs(size)
    low_rank = (b / 2**0.5)[:, None]
    normal = a + low_rank @ low_rank.T
    found = torch.linalg.eigvals(normal)
    half = found[found.imag > 0]
    return half[half.imag.argsort()]
