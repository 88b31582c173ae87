"""Structured transitions: A = diag(d) + L R^T, batched, and its spectrum through the small problem of its low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .chunked.triangular import unit_lower_inverse
from .operators.operator import Operator


@dataclass(frozen=True)
class Transition(Operator):
    """A = diag(diagonal) + left @ right^T, acting on the key axis of a state [..., K, V].

    diagonal [..., K], or [..., 1] for a multiple of the identity; left, right [..., K, r]; r = 0 is a diagonal matrix. All three
    are real or complex, and complex where one of them is; right^T is the transpose without conjugation. Leading dimensions are
    batched.
    """

    diagonal: Tensor
    left: Tensor
    right: Tensor

    def __post_init__(self) -> None:
        if self.left.shape != self.right.shape or self.diagonal.shape[:-1] != self.left.shape[:-2]:
            raise ValueError(
                f"Transition: diagonal {tuple(self.diagonal.shape)}, left {tuple(self.left.shape)} and right "
                f"{tuple(self.right.shape)} must agree as [..., 1|K], [..., K, r], [..., K, r]"
            )
        if self.diagonal.shape[-1] not in (1, self.size):
            raise ValueError(f"Transition: the diagonal has {self.diagonal.shape[-1]} entries; it needs 1 or {self.size}")
        common = torch.promote_types(torch.promote_types(self.diagonal.dtype, self.left.dtype), self.right.dtype)
        for name in ("diagonal", "left", "right"):
            object.__setattr__(self, name, getattr(self, name).to(common))

    @classmethod
    def diagonal_only(cls, log_decay: Tensor, size: int) -> Transition:
        """diag(e^g). log_decay [..., K], or [..., 1] for a scalar decay of `size` channels."""
        empty = log_decay.new_zeros(*log_decay.shape[:-1], size, 0)
        return cls(log_decay.exp(), empty, empty)

    @classmethod
    def householders(cls, keys: Tensor, beta: Tensor, log_decay: Tensor | None = None) -> Transition:
        """(I - beta_n k_n k_n^T) ... (I - beta_1 k_1 k_1^T) e^g, the transition of one token of a delta rule.

        keys [..., n, K] unit vectors, beta [..., n], log_decay [...], or [..., K] for a decay by channel, or None. By the WY
        form the product is (I - K^T T K) e^g with T = (I + tril(diag(beta) K K^T, -1))^{-1} diag(beta), so its rank-n part has
        two factors.
        """
        leads = () if log_decay is None else (beta.shape[:-1], (*beta.shape[:-1], keys.shape[-1]))
        if keys.shape[:-1] != beta.shape or (log_decay is not None and log_decay.shape not in leads):
            raise ValueError(
                f"keys {tuple(keys.shape)}, beta {tuple(beta.shape)} and log_decay "
                f"{None if log_decay is None else tuple(log_decay.shape)} must agree as [..., n, K], [..., n], [...]"
            )
        gram = beta[..., None] * (keys @ keys.mT)
        solved = unit_lower_inverse(gram.tril(-1)) @ (beta[..., None] * keys)
        if log_decay is not None and log_decay.ndim == beta.ndim:
            decay = log_decay.exp()
            return cls(decay, -keys.mT, (solved * decay[..., None, :]).mT)
        scale = torch.ones_like(beta[..., :1]) if log_decay is None else log_decay.exp()[..., None]
        return cls(scale, -scale[..., None] * keys.mT, solved.mT)

    @classmethod
    def diagonal_plus_low_rank(cls, a: Tensor, b: Tensor, log_decay: Tensor) -> Transition:
        """Diag(e^g) + b a^T, the transition of one token of `diagonal_plus_low_rank`. a, b, log_decay [..., K]."""
        return cls(log_decay.exp(), b[..., None], a[..., None])

    @property
    def size(self) -> int:
        """K."""
        return self.left.shape[-2]

    @property
    def rank(self) -> int:
        """r, the number of columns of the low-rank part."""
        return self.left.shape[-1]

    @property
    def is_scalar(self) -> bool:
        """Whether the diagonal is a multiple of the identity."""
        return self.diagonal.shape[-1] == 1

    def __getitem__(self, index: Any) -> Transition:
        """Index the batch dimensions."""
        return Transition(self.diagonal[index], self.left[index], self.right[index])

    def detach(self) -> Transition:
        return Transition(self.diagonal.detach(), self.left.detach(), self.right.detach())

    def to(self, *args: Any, **kwargs: Any) -> Transition:
        """As `Tensor.to`. A real dtype says the precision: what is complex stays complex."""
        if self.dtype.is_complex:
            args = tuple(_complex_dtype(value) for value in args)
            kwargs = {name: _complex_dtype(value) for name, value in kwargs.items()}
        return Transition(self.diagonal.to(*args, **kwargs), self.left.to(*args, **kwargs), self.right.to(*args, **kwargs))

    def double(self) -> Transition:
        """In float64, or complex128."""
        return self.to(torch.float64)

    @property
    def shape(self) -> torch.Size:
        """[..., K, K]."""
        return torch.Size((*self.left.shape[:-1], self.size))

    @property
    def dtype(self) -> torch.dtype:
        return self.left.dtype

    @property
    def device(self) -> torch.device:
        return self.left.device

    def matmat(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.apply(x)

    def adjoint(self) -> Transition:
        """A^* = diag(conj d) + conj(R) conj(L)^T."""
        return Transition(self.diagonal.conj(), self.right.conj(), self.left.conj())

    def apply(self, state: Tensor) -> Tensor:
        """A @ state for state [..., K, V]; complex where either is."""
        if self.dtype.is_complex != state.is_complex():
            common = torch.promote_types(self.dtype, state.dtype)
            return self.to(common).apply(state.to(common))
        return self.diagonal[..., None] * state + self.left @ (self.right.mT @ state)

    def dense(self) -> Tensor:
        """A as [..., K, K]."""
        return torch.diag_embed(self.diagonal.expand(*self.diagonal.shape[:-1], self.size)) + self.left @ self.right.mT

    def compose(self, earlier: Transition) -> Transition:
        """Self @ earlier: first `earlier`, then self. Ranks add.

        (D + L R^T)(D' + L' R'^T) = D D' + [D L' + L (R^T L'), L] [R', D' R]^T.
        """
        if self.size != earlier.size:
            raise ValueError(f"cannot compose transitions of size {self.size} and {earlier.size}")
        if self.dtype != earlier.dtype:
            common = torch.promote_types(self.dtype, earlier.dtype)
            return self.to(common).compose(earlier.to(common))
        left = self.diagonal[..., None] * earlier.left + self.left @ (self.right.mT @ earlier.left)
        right = earlier.diagonal[..., None] * self.right
        return Transition(
            self.diagonal * earlier.diagonal,
            torch.cat([left, self.left.expand(*left.shape[:-1], self.rank)], dim=-1),
            torch.cat([earlier.right.expand(*right.shape[:-1], earlier.rank), right], dim=-1),
        )

    def eigenvalues(self) -> Tensor:
        """The K eigenvalues, complex [..., K]; where the diagonal is scalar, the K - r that equal it come last.

        With a scalar diagonal d they are d (K - r times) and d + eig(R^T L), an r x r problem (Sylvester). A real diagonal plus a
        rank-one part l r^T whose l_i r_i have one sign is similar to the symmetric D +- w w^T with w_i = sqrt |l_i r_i|, so they
        are real (Kimi Delta Attention and RWKV-7 are such). Otherwise, and where r >= K, the dense matrix is decomposed.
        """
        if self.rank == 0:
            return _complex(self.diagonal.expand(*self.diagonal.shape[:-1], self.size))
        if not self.is_scalar:
            equal = bool((self.diagonal == self.diagonal[..., :1]).all())
            return self._scalar().eigenvalues() if equal else self._eigenvalues_by_channel()
        if self.rank >= self.size:
            return torch.linalg.eigvals(self.dense())
        small = self.right.mT @ self.left
        moved = _complex(small[..., 0]) if self.rank == 1 else torch.linalg.eigvals(small)
        still = _complex(self.diagonal)
        return torch.cat([moved + still, still.expand(*still.shape[:-1], self.size - self.rank)], dim=-1)

    def _scalar(self) -> Transition:
        """The same with the one entry that its diagonal repeats."""
        return Transition(self.diagonal[..., :1], self.left, self.right)

    def _eigenvalues_by_channel(self) -> Tensor:
        if self.rank == 1 and not self.dtype.is_complex:
            products = (self.left * self.right).squeeze(-1)
            sign = torch.where(products.sum(-1, keepdim=True) < 0, -1.0, 1.0).to(products)
            if bool((products * sign >= 0).all()):
                weight = products.abs().sqrt()
                outer = weight[..., :, None] * weight[..., None, :]
                return _complex(torch.linalg.eigvalsh(torch.diag_embed(self.diagonal) + sign[..., None] * outer))
        return torch.linalg.eigvals(self.dense())

    def singular_values(self) -> Tensor:
        """The K singular values, real and descending, [..., K].

        With a scalar diagonal only the span of [L, conj(R)] (at most 2r dimensions) is moved: on it A is a small matrix, and
        elsewhere its singular value is |d|.
        """
        if self.rank == 0:
            return self.diagonal.abs().expand(*self.diagonal.shape[:-1], self.size).sort(dim=-1, descending=True).values
        if not self.is_scalar and bool((self.diagonal == self.diagonal[..., :1]).all()):
            return self._scalar().singular_values()
        if not self.is_scalar or 2 * self.rank >= self.size:
            return torch.linalg.svdvals(self.dense())
        basis = torch.linalg.qr(torch.cat([self.left, self.right.conj()], dim=-1)).Q
        identity = torch.eye(2 * self.rank, dtype=basis.dtype, device=basis.device)
        small = self.diagonal[..., None] * identity + (basis.mH @ self.left) @ (self.right.mT @ basis)
        elsewhere = self.diagonal.abs().expand(*self.diagonal.shape[:-1], self.size - 2 * self.rank)
        return torch.cat([torch.linalg.svdvals(small), elsewhere], dim=-1).sort(dim=-1, descending=True).values

    def norm(self) -> Tensor:
        """The spectral norm, [...]. At most 1 for every delta rule with unit keys, beta in [0, 2] and no growth."""
        return self.singular_values()[..., 0]

    def log_abs_det(self) -> Tensor:
        """Log |det A|, [...], by the determinant lemma: sum log |d| + log |det(I + R^T D^{-1} L)|; -inf where A is singular.

        Where an entry of the diagonal is 0 the lemma does not apply and the dense matrix is factorised.
        """
        if bool((self.diagonal == 0).any()):
            return torch.linalg.slogdet(self.dense()).logabsdet
        log_diagonal = self.diagonal.abs().log().expand(*self.diagonal.shape[:-1], self.size).sum(-1)
        identity = torch.eye(self.rank, dtype=self.left.dtype, device=self.left.device)
        return log_diagonal + torch.linalg.slogdet(identity + self.right.mT @ (self.left / self.diagonal[..., None])).logabsdet


def _complex(values: Tensor) -> Tensor:
    return values if values.is_complex() else torch.complex(values, torch.zeros_like(values))


def _complex_dtype(value: Any) -> Any:
    """The complex dtype of a real dtype's precision; anything else as it is."""
    return value.to_complex() if isinstance(value, torch.dtype) and value.is_floating_point else value


def householder_write(keys: Tensor, values: Tensor, beta: Tensor) -> Tensor:
    """What one token of a delta rule writes into an empty state: B [..., K, V] with S_t = A_t S_{t-1} + B_t.

    keys [..., n, K], values [..., n, V], beta [..., n]: B = K^T (I + tril(diag(beta) K K^T, -1))^{-1} diag(beta) V.
    """
    gram = beta[..., None] * (keys @ keys.mT)
    return keys.mT @ (unit_lower_inverse(gram.tril(-1)) @ (beta[..., None] * values))
