"""How pairs of a key and a value are written to a matrix state, and what theory expects to be read back of them.

Pairs (k_i, v_i) are written by

    S_i = (D_i - beta k_i k_i^T E_i) S_{i-1} + alpha k_i v_i^T

with a diagonal D = Diag(d), one decay for each key channel: alpha = 1 and beta = 0 of an additive rule, alpha = beta of a delta
rule. E = D where the decay comes before the erasure (delta rules), E = I where the erasure reads the state before it (RWKV-7). A
token that writes several keys decays at the first of them: D = E = I at the others. Pair j is read by its own key:
r_j = S_n^T k_j.

Keys are uniform on the unit sphere of R^K, or orthonormal and uniform among such; values are independent, of mean 0 and mean
square 1. The expected error is E|r_j - v_j|^2 = x_j - 2 m_j + 1 with x = E|r|^2 and m = E r.v, and follows exactly:

**Additive.** With p = d^(tokens since the pair's own), for a complex d the real part of it, that r = Re(S^T k) reads:

    m_j = mean_c p_c
    own part: E (k_j^T P k_j)^2 = [2 sum_c p_c^2 + (sum_c p_c)^2] / (K (K + 2))
    of another pair i, with its p: mean_c p_c^2 / K of random keys,
        [K sum_c p_c^2 - (sum_c p_c)^2] / (K (K + 2) (K - 1)) of orthonormal ones.

**Erasing, random keys.** From E k k^T = I / K and E k k^T G k k^T = (2 G + I tr G) / (K (K + 2)) of a symmetric G,

    m: the part of each channel is multiplied by d - (beta / K) e
    (S S^T)_ac: by F_ac = d_a d_c - (beta / K) (e_a d_c + d_a e_c) + 2 beta^2 e_a e_c / (K (K + 2)),
    to which the diagonal adds beta^2 tr(E S S^T E) / (K (K + 2)) + alpha^2 / K

with each later pair; x is the mean of k^T S S^T k over the joint moments of S S^T and the own key k, which begin with those of
the sphere up to the sixth: E k_a^2 k_b^2 k_c^2 = 1, 3 or 15 over K (K + 2) (K + 4), as none, two or three of the channels agree.

**Erasing, orthonormal keys, one decay for all channels.** Nothing interferes: r_j = alpha g^(tokens since) v_j.

Of orthonormal keys under decays that differ by channel no closed form is known for rules that erase: a decay turns the keys
towards each other, and the moments of a product of projections of one basis grow with every pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...kernels.delta_rule import delta_rule
from ...kernels.diagonal_plus_low_rank import diagonal_plus_low_rank
from ...kernels.gate_loop import gate_loop
from ...kernels.gated_linear_attention import gated_linear_attention


@dataclass(frozen=True)
class WriteRule:
    """How a state is written, the same at each token.

    beta: of a delta rule, from 0 to 2; 0 for an additive one.
    log_decay: ln d of a token, one number for all key channels or one for each, its real part at most 0; complex where the decay
        turns, which only an additive rule may.
    keys: each token writes so many pairs, one after another.
    erases_first: what is erased is read before the decay (RWKV-7), not after it.
    note: what a reader should know of the state that the rule was taken from.

    Raises ValueError for numbers outside these.
    """

    beta: float = 0.0
    log_decay: float | tuple[complex, ...] = 0.0
    keys: int = 1
    erases_first: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        logs = torch.as_tensor(self.log_decay, dtype=torch.complex128)
        if not 0 <= self.beta <= 2 or bool((logs.real > 0).any()):
            raise ValueError(f"beta={self.beta} must be from 0 to 2, and log_decay={self.log_decay} at most 0")
        if self.keys < 1 or (self.keys > 1 and (not self.beta or self.erases_first)):
            raise ValueError(f"keys={self.keys} must be at least 1, and more than that takes a delta rule")
        if self.beta and bool((logs.imag != 0).any()):
            raise ValueError("a decay that turns takes an additive rule, beta=0")

    @property
    def gain(self) -> float:
        """The number alpha that a value is written with."""
        return self.beta if self.beta else 1.0

    @property
    def one_decay(self) -> bool:
        """Whether all channels decay alike."""
        logs = torch.as_tensor(self.log_decay)
        return bool((logs == logs.flatten()[0]).all())

    @property
    def channels(self) -> int | None:
        """The number K of key channels that the rule is for; None where it is for any."""
        return len(self.log_decay) if isinstance(self.log_decay, tuple) else None

    def log_decays(self, size: int) -> Tensor:
        """Ln d of K channels, [K] in complex128. Raises ValueError for a rule of another number of channels."""
        if self.channels not in (None, size):
            raise ValueError(f"the rule has decays for {self.channels} key channels, and keys have {size}")
        return torch.as_tensor(self.log_decay, dtype=torch.complex128).expand(size)

    def write(self, keys: Tensor, values: Tensor) -> Tensor:
        """The state [B, K, V] after pairs [B, n, K] and [B, n, V], by the package's recurrences; complex if the decay turns."""
        rest = -keys.shape[1] % self.keys
        k, v = (pad(x, (0, 0, 0, rest)).unflatten(1, (-1, 1, self.keys)) for x in (keys, values))
        logs = self.log_decays(keys.shape[-1]).expand(*k.shape[:3], -1)
        decay = logs.real.to(keys.dtype)
        if self.erases_first:
            k, v = k.squeeze(3), v.squeeze(3)
            return diagonal_plus_low_rank(k, self.gain * k, v, k, -self.beta * k, decay).final_state[:, 0]
        if self.beta:
            rate = torch.full(k.shape[:4], self.beta, dtype=keys.dtype)
            return delta_rule(k[:, :, :, 0], k, v, rate, decay).final_state[:, 0]
        k, v = k.squeeze(3), v.squeeze(3)
        if logs.imag.any():
            return gate_loop(k, k, v, decay, logs.imag.to(keys.dtype)).final_state[:, 0]
        return gated_linear_attention(k, k, v, decay).final_state[:, 0]

    def read(self, keys: Tensor, values: Tensor) -> Tensor:
        """Each value [B, n, V] as the state after all pairs gives it back to its own key, the real part of it."""
        state = self.write(keys, values)
        found = keys.to(state.dtype) @ state
        return found.real if found.is_complex() else found

    def since(self, pairs: int) -> Tensor:
        """How many tokens come after that of each of n pairs, [n]."""
        token = torch.arange(pairs) // self.keys
        return token[-1] - token


def expected_error(rule: WriteRule, pairs: int, key_size: int) -> Tensor:
    """E|r_j - v_j|^2 of each of `pairs` random pairs after the last is written, in the order of writing: [pairs]."""
    return erasing_error(rule, pairs, key_size) if rule.beta else _additive_error(rule, pairs, key_size, orthonormal=False)


def expected_error_of_orthonormal(rule: WriteRule, pairs: int, key_size: int) -> Tensor | None:
    """The same of orthonormal keys; None where no closed form is known."""
    if not rule.beta:
        return _additive_error(rule, pairs, key_size, orthonormal=True)
    if not rule.one_decay:
        return None
    decay = rule.log_decays(key_size)[0].real
    error: Tensor = (rule.gain * torch.exp(decay * rule.since(pairs)) - 1).square()
    return error


def _additive_error(rule: WriteRule, pairs: int, size: int, *, orthonormal: bool) -> Tensor:
    power = torch.exp(rule.since(pairs)[:, None] * rule.log_decays(size)).real  # [n, K]
    squares, sums = power.square().sum(-1), power.sum(-1)
    own = (2 * squares + sums.square()) / (size * (size + 2))
    apart = (size * squares - sums.square()) / (size * (size + 2) * max(size - 1, 1))
    others = apart if orthonormal else squares / size**2
    error: Tensor = own + (others.sum() - others) - 2 * sums / size + 1
    return error


def erasing_error(rule: WriteRule, pairs: int, size: int) -> Tensor:
    """`expected_error` by the recursion of second moments, of any rule whose decay does not turn."""
    beta, alpha = rule.beta, rule.gain
    decays, ones = torch.exp(rule.log_decays(size).real), torch.ones(size, dtype=torch.float64)
    second, fourth = 1 / size, 1 / (size * (size + 2))
    same = torch.eye(size, dtype=torch.float64)
    pair_squares = fourth * (1 + 2 * same)  # E k_a^2 k_c^2
    held = torch.zeros(size, dtype=torch.float64)  # the diagonal of E S S^T: other entries are 0
    along, apart, own = (torch.zeros(0, *shape, dtype=torch.float64) for shape in ((size,), (size, size), (size, size)))
    for index in range(pairs):
        d = decays if index % rule.keys == 0 else ones
        e = ones if rule.erases_first else d
        factor = (
            torch.outer(d, d) - beta * second * (torch.outer(e, d) + torch.outer(d, e)) + 2 * beta**2 * fourth * torch.outer(e, e)
        )
        taken = beta**2 * fourth * e.square()
        # Pairs before this one: r.v, (S S^T)_ac k_a k_c off the diagonal, and (S S^T)_aa k_c^2.
        along = along * (d - beta * second * e)
        apart = apart * factor
        own = own * factor.diagonal()[:, None] + (taken @ own)[:, None] + alpha**2 * second**2
        # This pair.
        kept, crossed, read = d.square() * held, d * e * held, e.square() * held
        written = beta**2 * _of_six(read) + alpha**2 * pair_squares
        first_apart = (written - beta * fourth * (crossed[:, None] + crossed)) * (1 - same)
        first_own = written + kept[:, None] * second - 2 * beta * crossed[:, None] * pair_squares
        along = torch.cat([along, torch.full((1, size), alpha * second, dtype=torch.float64)])
        apart, own = torch.cat([apart, first_apart[None]]), torch.cat([own, first_own[None]])
        held = factor.diagonal() * held + taken @ held + alpha**2 * second
    squares = apart.sum((-2, -1)) + own.diagonal(dim1=-2, dim2=-1).sum(-1)
    error: Tensor = squares - 2 * along.sum(-1) + 1
    return error


def _of_six(weights: Tensor) -> Tensor:
    """Sum over e of w_e E k_a^2 k_c^2 k_e^2, of a uniform unit vector: [K, K]."""
    size, total = len(weights), weights.sum()
    counts = total + 2 * (weights[:, None] + weights) + torch.diag(2 * total + 8 * weights)
    return counts / (size * (size + 2) * (size + 4))
