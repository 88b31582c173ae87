"""Structured transitions: A = diag(d) + L R^T, batched; their spectra through the small problem of the low rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..arguments import can_read_values
from ..chunked.triangular import unit_lower_inverse
from ..notebook import complex_plane, titled_table
from ..precision import widened, working_dtype
from ..shown import with_shapes
from .low_rank import log_abs_det, moved_eigenvalues, moved_singular_values, overlaps
from .operator import Operator

MOST_SHOWN = 600  # eigenvalues in a notebook


@dataclass(frozen=True)
class Transition(Operator):
    """A = diag(diagonal) + left @ right^T, acting on the key axis of a state [..., K, V].

    It is kept as (diag(undecayed) + left @ reads^T) Diag(e^{log_decay}), so that `diagonal` is undecayed * e^{log_decay} and
    `right` is e^{log_decay} * reads: without a log-decay they are what was given.

    Real or complex. Leading dimensions are batched, and all parts are brought to one dtype, float32 at least. right^T is no
    conjugate transpose.

    undecayed: [..., K], or [..., 1] for a multiple of the identity.
    left, reads: [..., K, r]; r = 0 is a diagonal matrix.
    log_decay: [..., K] or [..., 1], of what is applied to the state first, or None. It is kept as a logarithm because e^g leaves
        float32 below -87: `log_abs_det` and `lyapunov_exponents` never exponentiate it.

    Raises ValueError where the shapes disagree.
    """

    undecayed: Tensor
    left: Tensor
    reads: Tensor
    log_decay: Tensor | None = None

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        lead = self.left.shape[:-2]
        if self.left.shape != self.reads.shape or self.undecayed.shape[:-1] != lead:
            raise ValueError(
                f"Transition: diagonal {tuple(self.undecayed.shape)}, left {tuple(self.left.shape)} and right "
                f"{tuple(self.reads.shape)} must agree as [..., 1|K], [..., K, r], [..., K, r]"
            )
        for name, of_channels in (("undecayed", self.undecayed), ("log_decay", self.log_decay)):
            if of_channels is not None and (of_channels.shape[:-1] != lead or of_channels.shape[-1] not in (1, self.size)):
                raise ValueError(f"Transition: {name} {tuple(of_channels.shape)} needs {(*lead, 1)} or {(*lead, self.size)}")
        parts = [self.undecayed, self.left, self.reads] + ([] if self.log_decay is None else [self.log_decay])
        dtype = torch.float32
        for part in parts:
            dtype = torch.promote_types(dtype, working_dtype(part.dtype))
        for name in ("undecayed", "left", "reads"):
            object.__setattr__(self, name, getattr(self, name).to(dtype))
        if self.log_decay is not None:
            real = dtype.to_real()  # a decay may be real where the rest is complex
            object.__setattr__(self, "log_decay", self.log_decay.to(dtype if self.log_decay.is_complex() else real))
        object.__setattr__(self, "self_adjoint", self.rank == 0 and not dtype.is_complex)

    def _repr_html_(self) -> str:
        """What a notebook shows: the structure, and eigenvalues in the plane; of many matrices those of some, evenly taken."""
        *lead, size, _ = self.shape
        count, kind = math.prod(lead), str(self.dtype).removeprefix("torch.")
        title = f"{count:,} transitions" if count != 1 else "A transition"
        diagonal = "a multiple of the identity" if self.is_scalar else "a diagonal"
        rows = [("each", f"{size} x {size}, {diagonal}" + (f" and a part of rank {self.rank}" if self.rank else ""))]
        rows += [("of shape", f"{lead}, {kind}")]
        if not count or not all(bool(part.isfinite().all()) for part in (self.diagonal, self.left, self.right)):
            rows += [("eigenvalues", "not every number is finite" if count else "none")]
            return titled_table(title, rows)
        flat = self.detach().each(lambda part: part.reshape(count, *part.shape[len(lead) :]))
        some = torch.linspace(0, count - 1, min(count, max(1, MOST_SHOWN // size)), dtype=torch.float64).round().long()
        values, times = flat[some.to(self.device)].distinct_eigenvalues()
        turning, share = values.imag.abs() > 1e-6, times / times.sum()
        kinds = {"complex": turning, "real and below 0": ~turning & (values.real < -1e-6)}
        rows += [("eigenvalues", f"of modulus {float(values.abs().min()):.4g} to {float(values.abs().max()):.4g}")]
        rows += [(name, f"{float((those.double().mean(0) * share).sum()):.1%} of them") for name, those in kinds.items()]
        return titled_table(title, rows, complex_plane(values, "Eigenvalues"))

    @classmethod
    def diagonal_only(cls, log_decay: Tensor, size: int) -> Transition:
        """diag(e^g). log_decay [..., K], or [..., 1] for a scalar decay of `size` channels; complex for a decay that turns."""
        log_decay = widened(log_decay)
        empty = log_decay.new_zeros(*log_decay.shape[:-1], size, 0)
        return cls(torch.ones_like(log_decay[..., :1]), empty, empty, log_decay)

    @classmethod
    def householders(cls, keys: Tensor, beta: Tensor, log_decay: Tensor | None = None) -> Transition:
        """Make the transition (I - beta_n k_n k_n^T) ... (I - beta_1 k_1 k_1^T) e^g of one token of a delta rule.

        keys [..., n, K] unit vectors, beta [..., n], log_decay [...], or [..., K] for a decay by channel, or None. By the WY
        form the product is (I - K^T T K) e^g with T = (I + tril(diag(beta) K K^T, -1))^{-1} diag(beta), so its rank-n part has
        two factors. A window of T tokens with n keys each and scalar decays is one such product: T n keys, and the sum of the
        decays.
        """
        leads = () if log_decay is None else (beta.shape[:-1], (*beta.shape[:-1], keys.shape[-1]))
        if keys.shape[:-1] != beta.shape or (log_decay is not None and log_decay.shape not in leads):
            raise ValueError(
                f"keys {tuple(keys.shape)}, beta {tuple(beta.shape)} and log_decay "
                f"{None if log_decay is None else tuple(log_decay.shape)} must agree as [..., n, K], [..., n], [...] or [..., K]"
            )
        if log_decay is not None and log_decay.ndim < beta.ndim:
            log_decay = log_decay[..., None]
        keys, beta = widened(keys), widened(beta)
        return cls(torch.ones_like(beta[..., :1]), -keys.mT, _solved(keys, beta, keys).mT, log_decay)

    @classmethod
    def diagonal_plus_low_rank(cls, a: Tensor, b: Tensor, log_decay: Tensor) -> Transition:
        """Diag(e^g) + b a^T, the transition of one token of `diagonal_plus_low_rank`. a, b, log_decay [..., K]."""
        return cls(widened(log_decay).exp(), b[..., None], a[..., None])

    @property
    def size(self) -> int:
        """The number K of key channels that A acts on."""
        return self.left.shape[-2]

    @property
    def rank(self) -> int:
        """The number r of columns that the low-rank part has."""
        return self.left.shape[-1]

    @property
    def is_scalar(self) -> bool:
        """Whether the matrix is a multiple of the identity but for its low rank."""
        return self.undecayed.shape[-1] == 1 and (self.log_decay is None or self.log_decay.shape[-1] == 1)

    @property
    def shape(self) -> torch.Size:
        """The shape of A is [..., K, K]."""
        return torch.Size((*self.left.shape[:-1], self.size))

    @property
    def dtype(self) -> torch.dtype:
        return self.left.dtype

    @property
    def device(self) -> torch.device:
        return self.left.device

    @cached_property
    def diagonal(self) -> Tensor:
        """The diagonal of the matrix without its low rank, [..., K], or [..., 1] for a multiple of the identity."""
        return self.undecayed if self.log_decay is None else self.undecayed * self.log_decay.exp()

    @property
    def log_gain(self) -> Tensor:
        """Log |diagonal|, [..., K], or [..., 1] for a multiple of the identity: its decay is not exponentiated."""
        logs = self.undecayed.abs().log()
        return logs if self.log_decay is None else logs + self.log_decay.real

    @property
    def turn(self) -> Tensor:
        """The angle of the diagonal in radians, [..., K], or [..., 1] for a multiple of the identity; it may be over pi."""
        angle = self.undecayed.angle()
        return angle + self.log_decay.imag if self.log_decay is not None and self.log_decay.is_complex() else angle

    @cached_property
    def right(self) -> Tensor:
        """What the low-rank part reads from the state, [..., K, r]."""
        return self.reads if self.log_decay is None else self.log_decay.exp()[..., None] * self.reads

    def __getitem__(self, index: Any) -> Transition:
        """Index the batch dimensions; `...` stands for those that are not named, as in a tensor of their shape."""
        index = index if isinstance(index, tuple) else (index,)
        if not any(entry is Ellipsis for entry in index):
            index = (*index, Ellipsis)
        channels, columns = (*index, slice(None)), (*index, slice(None), slice(None))
        decay = None if self.log_decay is None else self.log_decay[channels]
        return Transition(self.undecayed[channels], self.left[columns], self.reads[columns], decay)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors it is kept as, all of the same batch dimensions: undecayed, left, reads, and log_decay if it has one."""
        held = (self.undecayed, self.left, self.reads)
        return held if self.log_decay is None else (*held, self.log_decay)

    def each(self, change: Callable[[Tensor], Tensor]) -> Transition:
        """The transition of each part changed, such as cut or moved along a batch dimension."""
        return Transition(*map(change, self.parts))

    @classmethod
    def joined(cls, transitions: Sequence[Transition], axis: int) -> Transition:
        """Several of one kind as one, one after another along a batch dimension."""
        return cls(*(torch.cat(part, dim=axis) for part in zip(*(own.parts for own in transitions), strict=True)))

    def detach(self) -> Transition:
        return self.each(torch.Tensor.detach)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Transition:
        """Convert to another precision or device. A complex transition stays complex: float64 makes complex128 of it."""

        def convert(part: Tensor) -> Tensor:
            wanted = part.dtype if dtype is None else dtype
            return part.to(device, wanted.to_complex() if part.is_complex() else wanted)

        return self.each(convert)

    def double(self) -> Transition:
        """The same transition in float64, or in complex128 where it is complex."""
        return self.to(torch.float64)

    def matmat(self, x: Tensor) -> Tensor:
        """A @ state for state [..., K, V]."""
        self.check(x)
        if self.log_decay is not None:
            x = self.log_decay.exp()[..., None] * x
        low_rank = self.left.to(x.dtype) @ (self.reads.to(x.dtype).mT @ x)
        return self.undecayed[..., None] * x + low_rank

    def adjoint(self) -> Transition:
        """A^* = conj(diag(d) + R L^T), a decay by channel being multiplied in: it would be applied last."""
        own = self if self.is_scalar else self._multiplied_in()
        log_decay = None if own.log_decay is None else own.log_decay.conj()
        return Transition(own.undecayed.conj(), own.reads.conj(), own.left.conj(), log_decay)

    def dense(self) -> Tensor:
        """A as a dense matrix [..., K, K]."""
        own = self._multiplied_in()
        return torch.diag_embed(own.diagonal.expand(*own.diagonal.shape[:-1], own.size)) + own.left @ own.right.mT

    def compose(self, earlier: Transition) -> Transition:
        """Self @ earlier: first `earlier`, then self. Ranks add.

        (D + L R^T)(D' + L' R'^T) = D D' + [D L' + L (R^T L'), L] [R', D' R]^T.
        """
        if self.size != earlier.size:
            raise ValueError(f"cannot compose transitions of size {self.size} and {earlier.size}")
        if not _is_scalar(self.log_decay):
            return self._multiplied_in().compose(earlier)
        left = self.undecayed[..., None] * earlier.left + _product(self.left, self.reads.mT, earlier.left)
        right = earlier.undecayed[..., None] * self.reads
        decays = [decay for decay in (self.log_decay, earlier.log_decay) if decay is not None]
        return Transition(
            self.undecayed * earlier.undecayed,
            torch.cat([left, self.left.expand(*left.shape[:-1], self.rank).to(left.dtype)], dim=-1),
            torch.cat([earlier.reads.expand(*right.shape[:-1], earlier.rank).to(right.dtype), right], dim=-1),
            sum(decays[1:], decays[0]) if decays else None,
        )

    def eigenvalues(self) -> Tensor:
        """The K eigenvalues, complex [..., K]; where the diagonal is scalar, the K - r that equal it come last.

        With a scalar diagonal d they are d (K - r times) and d + eig(R^T L), an r x r problem (Sylvester). A real diagonal plus a
        rank-one part l r^T whose l_i r_i have one sign is similar to the symmetric D +- w w^T with w_i = sqrt |l_i r_i|, so they
        are real (Kimi Delta Attention and RWKV-7 are such). Otherwise, and where r >= K, the dense matrix is decomposed.
        """
        values, multiplicity = self.distinct_eigenvalues()
        return values if values.shape[-1] == self.size else values.repeat_interleave(multiplicity, dim=-1)

    def distinct_eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, complex [..., m], and how often each counts, [m]: where a scalar diagonal has a low rank r < K, those that
        the low rank moves, and last the diagonal K - r times; elsewhere all K once.
        """
        own = self._simplest()
        kind = own.dtype.to_complex()
        if own.is_scalar and own.rank < own.size:
            still = own.diagonal.to(kind)
            moved = still[..., :0] if own.rank == 0 else moved_eigenvalues(own.diagonal, own.left, own.right)
            counts = torch.ones(own.rank + 1, dtype=torch.long, device=own.device)
            counts[-1] = own.size - own.rank
            return torch.cat([moved, still], dim=-1), counts
        return own._all_eigenvalues(), torch.ones(own.size, dtype=torch.long, device=own.device)

    def _all_eigenvalues(self) -> Tensor:
        """Those of a diagonal that is not scalar, and of a low rank that is as large as the matrix."""
        kind = self.dtype.to_complex()
        if self.rank == 0:
            return self.diagonal.to(kind)
        if self.rank == 1 and not self.is_scalar and not self.dtype.is_complex:
            products = (self.left * self.right).squeeze(-1)
            sign = torch.where(products.sum(-1, keepdim=True) < 0, -1.0, 1.0).to(products)
            if bool((products * sign >= 0).all()):
                weight = products.abs().sqrt()
                moved = (sign * weight)[..., :, None] * weight[..., None, :]
                return torch.linalg.eigvalsh(torch.diag_embed(self.diagonal) + moved).to(kind)
        return torch.linalg.eigvals(self.dense())

    def singular_values(self) -> Tensor:
        """The K singular values, descending, real [..., K].

        With a scalar diagonal only the span of [L, conj R] (at most 2r dimensions) is moved: on it A is a small matrix, and
        elsewhere its singular value is |d|.
        """
        values, multiplicity = self._distinct_singular_values()
        if values.shape[-1] < self.size:
            values = values.repeat_interleave(multiplicity, dim=-1)
        return values.sort(dim=-1, descending=True).values

    def _distinct_singular_values(self) -> tuple[Tensor, Tensor]:
        """Singular values [..., m] in any order, and how often each counts, [m]."""
        own = self._simplest()
        if own.rank and not (own.is_scalar and 2 * own.rank < own.size):
            return torch.linalg.svdvals(own.dense()), torch.ones(own.size, dtype=torch.long, device=own.device)
        still = own.diagonal.abs()
        moved = still[..., :0] if own.rank == 0 else moved_singular_values(own.diagonal, own.left, own.right)
        counts = torch.ones(2 * own.rank + still.shape[-1], dtype=torch.long, device=own.device)
        if still.shape[-1] == 1:
            counts[-1] = own.size - 2 * own.rank
        return torch.cat([moved, still], dim=-1), counts

    def extreme_singular_values(self) -> tuple[Tensor, Tensor]:
        """The largest and the least, each [...]."""
        values, _ = self._distinct_singular_values()
        return values.amax(-1), values.amin(-1)

    def norm(self) -> Tensor:
        """The spectral norm, [...]. At most 1 for every delta rule with unit keys, beta in [0, 2] and no growth."""
        return self.extreme_singular_values()[0]

    def log_abs_det(self) -> Tensor:
        """Log |det A|, real [...], by the determinant lemma: K log-decays, sum log |d| and log |det(I + R^T D^{-1} L)|.

        -inf where A is singular, which is to say nearer to a singular matrix than the rounding of its entries: a delta rule with
        beta = 1 erases its key, and |k| is 1 only so far. Where an entry of the diagonal is 0 the lemma does not apply and the
        dense matrix is factorised.
        """
        decayed = self.undecayed.real.new_zeros(self.undecayed.shape[:-1])
        if self.log_decay is not None:
            decayed = self.log_decay.real.expand(*self.log_decay.shape[:-1], self.size).sum(-1)
        log_diagonal = self.undecayed.abs().log().expand(*self.undecayed.shape[:-1], self.size).sum(-1)
        if self.rank == 0:
            return decayed + log_diagonal
        if bool((self.undecayed == 0).any()):
            return decayed + log_abs_det(Transition(self.undecayed, self.left, self.reads).dense(), 0.0)
        identity = torch.eye(self.rank, dtype=self.left.dtype, device=self.left.device)
        small = identity + overlaps(self.reads, self.left / self.undecayed[..., None])
        return decayed + log_diagonal + log_abs_det(small, 1.0)

    def _multiplied_in(self) -> Transition:
        """The same without a log-decay."""
        if self.log_decay is None:
            return self
        return Transition(self.diagonal, self.left, self.right)

    def _simplest(self) -> Transition:
        """The same without a log-decay, and with a scalar diagonal where all its entries are equal."""
        own = self._multiplied_in()
        if own.is_scalar or not can_read_values(own.diagonal) or not bool((own.diagonal == own.diagonal[..., :1]).all()):
            return own
        return Transition(own.diagonal[..., :1], own.left, own.right)


def householder_write(keys: Tensor, values: Tensor, beta: Tensor) -> Tensor:
    """What one token of a delta rule writes into an empty state: B [..., K, V] with S_t = A_t S_{t-1} + B_t.

    keys [..., n, K], values [..., n, V], beta [..., n]: B = K^T (I + tril(diag(beta) K K^T, -1))^{-1} diag(beta) V. In float32
    at least, as the state is.
    """
    keys, values, beta = widened(keys), widened(values), widened(beta)
    return keys.mT @ _solved(keys, beta, values)


def _solved(keys: Tensor, beta: Tensor, of_keys: Tensor) -> Tensor:
    """(I + tril(diag(beta) K K^T, -1))^{-1} diag(beta) X for X [..., n, .]."""
    gram = beta[..., None] * (keys @ keys.mT)
    return unit_lower_inverse(gram.tril(-1)) @ (beta[..., None] * of_keys)


def _is_scalar(log_decay: Tensor | None) -> bool:
    return log_decay is None or log_decay.shape[-1] == 1


def _product(*matrices: Tensor) -> Tensor:
    """Their product from the right, in the dtype that they have together."""
    *before, last = matrices
    for matrix in reversed(before):
        dtype = torch.promote_types(matrix.dtype, last.dtype)
        last = matrix.to(dtype) @ last.to(dtype)
    return last
