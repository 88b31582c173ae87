"""Linear systems that no token chooses: x_t = A x_{t-1} + B u_t, y_t = C x_t; what they answer, and what of them can be left out.

The answer to an impulse is K_t = C A^t B, and to a frequency w the transfer function G(e^{iw}) = C (I - A e^{-iw})^{-1} B. With

    P = sum_t A^t B B^T A^{tT}  (controllability),    Q = sum_t A^{tT} C^T C A^t  (observability),

the Hankel singular values are the square roots of the eigenvalues of P Q. A system of few states that keeps the largest of them,
sigma_1 .. sigma_r, is the balanced truncation (Moore 1981); it is stable, and

    sigma_{r+1}  <=  max_w |G(e^{iw}) - G_r(e^{iw})|_2  <=  2 (sigma_{r+1} + ... + sigma_N)

(Enns 1984; Glover 1984; in discrete time Al-Saggaf and Franklin 1987). Gramians are kept as factors P = L L^T and never squared,
so that small Hankel singular values are right to the rounding of the largest (Laub et al. 1987; Tombs and Postlethwaite 1987).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..dense_scan import dense_scan
from ..precision import widened
from ..shown import with_shapes

DOUBLINGS = 60  # of the sum of a Gramian: 2^60 tokens


class UnstableSystemError(ValueError):
    """A system with an eigenvalue of modulus 1 or more, whose sums over all time have no limit."""


@dataclass(frozen=True)
class LinearSystem:
    """H real systems side by side: x_t = A x_{t-1} + B u_t, y_t = C x_t. N states, M inputs and P outputs each.

    a: [H, N, N]. b: [H, N, M]. c: [H, P, N].

    Raises ValueError for shapes that disagree and for complex parts, of which `of_diagonal` makes real ones.
    """

    a: Tensor
    b: Tensor
    c: Tensor

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        heads, size = self.b.shape[:2] if self.b.ndim == 3 else (0, 0)
        if self.a.shape != (heads, size, size) or self.c.ndim != 3 or self.c.shape[::2] != (heads, size):
            raise ValueError(
                f"LinearSystem: a {list(self.a.shape)}, b {list(self.b.shape)} and c {list(self.c.shape)} must agree as "
                "[H, N, N], [H, N, M] and [H, P, N]"
            )
        if any(part.is_complex() for part in (self.a, self.b, self.c)):
            raise ValueError("LinearSystem: a complex diagonal system has a real form, see LinearSystem.of_diagonal")

    @classmethod
    def of_diagonal(cls, decay: Tensor, b: Tensor, c: Tensor) -> Self:
        """The real system of h_t = Lambda h_{t-1} + B u_t, y_t = Re(C h_t), whose states are the real and imaginary parts of h.

        decay: [H, N] complex. b: [H, N, M]. c: [H, P, N]. Its poles are Lambda and its conjugates.
        """
        decay, b, c = (part.to(torch.promote_types(part.dtype, torch.complex64)) for part in (decay, b, c))
        real, turned = torch.diag_embed(decay.real), torch.diag_embed(decay.imag)
        a = torch.cat([torch.cat([real, -turned], dim=-1), torch.cat([turned, real], dim=-1)], dim=-2)
        return cls(a, torch.cat([b.real, b.imag], dim=-2), torch.cat([c.real, -c.imag], dim=-1))

    @property
    def size(self) -> int:
        """The number N of real states."""
        return self.a.shape[-1]

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> LinearSystem:
        """Convert to another precision or device."""
        return LinearSystem(*(part.to(device, part.dtype if dtype is None else dtype) for part in (self.a, self.b, self.c)))

    def double(self) -> LinearSystem:
        """The same system in float64."""
        return self.to(torch.float64)

    def poles(self) -> Tensor:
        """The eigenvalues of A, complex [H, N]."""
        return torch.linalg.eigvals(self.a)

    def respond(self, u: Tensor) -> Tensor:
        """The outputs [B, T, H, P] to inputs [B, T, H, M], from a zero state."""
        dtype = torch.promote_types(u.dtype, self.a.dtype)
        states = dense_scan(torch.einsum("hnm,bthm->bthn", self.b.to(dtype), u.to(dtype)), self.a.to(dtype)).output
        return torch.einsum("hpn,bthn->bthp", self.c.to(dtype), states)

    def krylov(self, length: int) -> Tensor:
        """A^t B for t = 0 .. length - 1: [H, length, N, M], what the input of t tokens ago has become in the state."""
        columns, column = [], self.b
        for _ in range(length):
            columns.append(column)
            column = self.a @ column
        return torch.stack(columns, dim=1)

    def impulse_response(self, length: int) -> Tensor:
        """K_t = C A^t B for t = 0 .. length - 1: [H, length, P, M]."""
        return self.c[:, None] @ self.krylov(length)

    def frequency_response(self, angles: Tensor) -> Tensor:
        """G(e^{iw}) = C (I - A e^{-iw})^{-1} B at angles w in radians a token, [F], or [H, F] of each system: complex
        [H, F, P, M].
        """
        kind = self.a.dtype.to_complex()
        turn = torch.exp(-1j * angles.to(kind))[..., None, None]
        inner = torch.eye(self.size, dtype=kind) - self.a.to(kind)[:, None] * turn
        return self.c.to(kind)[:, None] @ torch.linalg.solve(inner, self.b.to(kind)[:, None])

    def controllability_factor(self) -> Tensor:
        """L [H, N, .] with P = L L^T. Raises UnstableSystemError."""
        self._check_stable()
        return _factor(self.a, self.b)

    def observability_factor(self) -> Tensor:
        """L [H, N, .] with Q = L L^T. Raises UnstableSystemError."""
        self._check_stable()
        return _factor(self.a.mT, self.c.mT)

    def controllability(self) -> Tensor:
        """P = A P A^T + B B^T, [H, N, N]: the covariance of the state under white inputs of variance 1."""
        factor = self.controllability_factor()
        return factor @ factor.mT

    def observability(self) -> Tensor:
        """Q = A^T Q A + C^T C, [H, N, N]: the energy of all outputs to come from a state."""
        factor = self.observability_factor()
        return factor @ factor.mT

    def hankel_singular_values(self) -> Tensor:
        """The singular values of the map from inputs up to a token to the outputs from it on, descending [H, <= N]."""
        return torch.linalg.svdvals(self.observability_factor().mT @ self.controllability_factor())

    def balanced(self, order: int) -> LinearSystem:
        """The balanced truncation to `order` states. With all of them it is the same system in coordinates in which both Gramians
        are the diagonal of Hankel singular values.

        Raises ValueError for an order that is not from 1 to the number of states that can be reached and seen above rounding,
        and UnstableSystemError.
        """
        reach, see = self.controllability_factor(), self.observability_factor()
        left, sigma, right = torch.linalg.svd(see.mT @ reach, full_matrices=False)
        rounding = self.size * torch.finfo(self.a.dtype).eps
        most = int((sigma > rounding * sigma[:, :1]).sum(-1).min())
        if not 1 <= order <= most:
            raise ValueError(f"order {order} must be from 1 to {most}, the states that are reached and seen in every system")
        scale = sigma[:, None, :order].rsqrt()
        into, back = (see @ left[..., :order] * scale).mT, reach @ right.mT[..., :order] * scale
        return LinearSystem(into @ self.a @ back, into @ self.b, self.c @ back)

    def _check_stable(self) -> None:
        radius = float(self.poles().abs().max())
        if radius >= 1:
            raise UnstableSystemError(f"a pole has modulus {radius:.6g}; sums over all time need all below 1")


def _factor(a: Tensor, b: Tensor) -> Tensor:
    """L with L L^T = sum_t A^t B B^T A^{tT}: [Z, A^s Z] holds twice the tokens of Z, and QR makes it as narrow as N again.

    It goes on until what is added is below rounding in every system, beside that system's own sum.
    """
    factor, power = widened(b), widened(a)
    rounding = torch.finfo(factor.dtype).eps
    for _ in range(DOUBLINGS):
        later = power @ factor
        factor = torch.linalg.qr(torch.cat([factor, later], dim=-1).mT).R.mT
        if bool((_sizes(later) <= rounding * _sizes(factor)).all()):
            break
        power = power @ power
    return factor


def _sizes(factor: Tensor) -> Tensor:
    """The Frobenius norm of each system's factor [H, N, .], [H]."""
    sizes: Tensor = factor.flatten(1).norm(dim=1)
    return sizes
