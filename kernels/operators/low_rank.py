"""What a multiple of the identity and a low rank, d + L R^T, do to the few directions that the low rank moves."""

from __future__ import annotations

import torch
from torch import Tensor

SINGULAR = 8  # roundings: what is nearer to a singular matrix than so many is taken for one


def moved_eigenvalues(scalar: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The r eigenvalues of d + L R^T that are not d: d + eig(R^T L), complex [..., r] (Sylvester).

    scalar: [..., 1]. left, right: [..., K, r] with r < K.
    """
    kind = left.dtype.to_complex()
    small = overlaps(right, left)
    moved = small[..., 0].to(kind) if small.shape[-1] == 1 else torch.linalg.eigvals(small)
    return moved + scalar.to(kind)


def overlaps(right: Tensor, left: Tensor) -> Tensor:
    """R^T L, [..., r, r]."""
    return (right * left).sum(-2, keepdim=True) if left.shape[-1] == 1 else right.mT @ left


def moved_singular_values(scalar: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The 2r singular values of d + L R^T on the span of [L, conj R], descending [..., 2r]; elsewhere they are |d|.

    scalar: [..., 1]. left, right: [..., K, r] with 2r < K.
    """
    if left.shape[-1] == 1 and not left.is_complex():
        return _of_rank_one(scalar[..., 0], left[..., 0], right[..., 0])
    basis = torch.linalg.qr(torch.cat([left, right.conj()], dim=-1)).Q
    identity = torch.eye(basis.shape[-1], dtype=basis.dtype, device=basis.device)
    return torch.linalg.svdvals(scalar[..., None] * identity + (basis.mH @ left) @ (right.mT @ basis))


def _of_rank_one(d: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Both values of d + l r^T, with p = |d (d + l.r)| their product and (s1 + s2)^2, (s1 - s2)^2 the squares of

    a = |l| |r| and b = sqrt((2d + l.r)^2 + |l|^2 |r'|^2), r' the part of r across l, in one order or the other.
    """
    along, length = (left * right).sum(-1), torch.linalg.vector_norm(left, dim=-1)
    unit = left / torch.where(length > 0, length, 1.0)[..., None]
    across = length * torch.linalg.vector_norm(right - (unit * right).sum(-1, keepdim=True) * unit, dim=-1)
    a, b = length * torch.linalg.vector_norm(right, dim=-1), torch.hypot(2 * d + along, across)
    larger = (a + b) / 2
    smaller = (d * (d + along)).abs() / torch.where(larger > 0, larger, 1.0)
    return torch.stack([larger, smaller], dim=-1)


def log_abs_det(matrix: Tensor, scale: float) -> Tensor:
    """Log |det| of [..., r, r]; -inf where its least singular value is within rounding of 0, beside its largest and `scale`."""
    if matrix.shape[-1] == 1:
        only = matrix[..., 0, 0]
        rounding = SINGULAR * torch.finfo(matrix.dtype).eps * only.detach().abs().clamp(min=scale)
        return only.abs().log().masked_fill(only.detach().abs() <= rounding, -torch.inf)
    singular = torch.linalg.svdvals(matrix.detach())
    rounding = SINGULAR * torch.finfo(matrix.dtype).eps * singular[..., 0].clamp(min=scale)
    return torch.linalg.slogdet(matrix).logabsdet.masked_fill(singular[..., -1] <= rounding, -torch.inf)
