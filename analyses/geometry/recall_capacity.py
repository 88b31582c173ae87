"""How many pairs of a key and a value a matrix state holds before it gives them back wrongly: measured, and as theory has it.

Pairs (k_t, v_t) are written by S_t = g (I - beta k_t k_t^T) S_{t-1} + alpha k_t v_t^T, with alpha = beta (a delta rule) or with
beta = 0 and alpha = 1 (an additive one), and read by their own keys, r_j = S_n^T k_j. For keys that are uniform on the unit
sphere of R^K and independent values of mean 0 and mean square 1, the error E|r_j - v_j|^2 = x - 2m + 1 follows exactly from

    N = E|S|^2    N' = g^2 N (1 - (2 beta - beta^2) / K) + alpha^2
    m = E r.v     m = alpha after the pair's own token, then m' = g m (1 - beta / K)
    x = E|r|^2    x = g^2 (1 - beta)^2 N / K + alpha^2 after the pair's own token, then
                  x' = g^2 (x (1 - 2 beta / K + 3 beta^2 / (K (K + 2))) + beta^2 (N - x) / (K (K + 2))) + alpha^2 / K

since the square of the cosine between two keys has mean 1 / K and its square mean 3 / (K (K + 2)). Without decay an additive
state errs by (n - 1) / K. A delta rule with beta = 1 errs by nothing for up to K orthonormal keys; of random ones it gives back
the latest, and forgets the others as they are written over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...kernels.delta_rule import delta_rule
from ...kernels.linear_attention import linear_attention
from ...probe.results.intervals import mean_and_reach
from ...probe.tasks.base import generator_for
from .results.recall_capacity import RecallCapacity


@dataclass(frozen=True)
class WriteRule:
    """How a state is written. beta: of a delta rule; 0 for an additive one. log_decay: ln g of a token, at most 0."""

    beta: float = 0.0
    log_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 2 or self.log_decay > 0:
            raise ValueError(f"beta={self.beta} must be from 0 to 2, and log_decay={self.log_decay} at most 0")

    @property
    def gain(self) -> float:
        """The number alpha that a value is written with."""
        return self.beta if self.beta else 1.0

    def write(self, keys: Tensor, values: Tensor) -> Tensor:
        """The state [B, K, V] after pairs [B, n, K] and [B, n, V], by the package's recurrences."""
        batch, length, _ = keys.shape
        k, v = keys[:, :, None], values[:, :, None]
        decay = torch.full((batch, length, 1), self.log_decay, dtype=keys.dtype)
        if self.beta:
            rate = torch.full((batch, length, 1), self.beta, dtype=keys.dtype)
            return delta_rule(k, k, v, rate, decay).final_state[:, 0]
        return linear_attention(k, k, v, decay).final_state[:, 0]


RULES = {
    "additive": WriteRule(),
    "additive, decay 0.99": WriteRule(0.0, float(np.log(0.99))),
    "delta rule": WriteRule(1.0),
    "delta rule, beta 0.5": WriteRule(0.5),
    "gated delta rule, decay 0.99": WriteRule(1.0, float(np.log(0.99))),
}


def recall_capacity(
    rules: dict[str, WriteRule] | None = None,
    pairs: Sequence[int] = (1, 4, 8, 16, 24, 32, 48, 64, 96, 128),
    *,
    key_size: int = 32,
    value_size: int = 32,
    states: int = 64,
    seed: int = 0,
) -> RecallCapacity:
    """Write random pairs into empty states, read all by their keys, and compare with what theory expects.

    rules: by name; those of `RULES` where it is None. pairs: how many to write. states: drawn for each.

    Orthonormal keys are tried up to K pairs. Raises ValueError for a count or size below 1.
    """
    if min(pairs, default=0) < 1 or states < 2 or min(key_size, value_size) < 1:
        raise ValueError(
            f"pairs={list(pairs)}, key_size={key_size} and value_size={value_size} must be at least 1, and states={states} 2"
        )
    rows = []
    for name, rule in (RULES if rules is None else rules).items():
        for kind, (draw, theory, fits) in KEYS.items():
            for count in (count for count in pairs if fits(count, key_size)):
                generator = generator_for(seed, count)
                keys = draw(states, count, key_size, generator)
                values = torch.randn(states, count, value_size, dtype=torch.float64, generator=generator) * value_size**-0.5
                read = keys @ rule.write(keys, values)
                error, reach = mean_and_reach((read - values).square().sum(-1).mean(-1).numpy())
                expected = float(theory(rule, count, key_size).mean())
                rows.append((name, kind, count, float(error), float(error - reach), float(error + reach), expected))
    about = {"key_size": key_size, "value_size": value_size, "states": states}
    return RecallCapacity(pd.DataFrame(rows, columns=list(RecallCapacity.columns)), about)


def expected_error(rule: WriteRule, pairs: int, key_size: int) -> Tensor:
    """E|r_j - v_j|^2 of each of `pairs` random pairs after the last is written, in the order of writing: [pairs]."""
    beta, alpha, g2, size = rule.beta, rule.gain, float(np.exp(2 * rule.log_decay)), key_size
    fourth = 1 / (size * (size + 2))
    held = 0.0
    squares, along = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    for _ in range(pairs):
        kept = 1 - 2 * beta / size + 3 * beta**2 * fourth
        squares = g2 * (squares * kept + beta**2 * fourth * (held - squares)) + alpha**2 / size
        along = g2**0.5 * along * (1 - beta / size)
        own = g2 * (1 - beta) ** 2 * held / size + alpha**2
        squares, along = torch.cat([squares, squares.new_tensor([own])]), torch.cat([along, along.new_tensor([alpha])])
        held = g2 * held * (1 - (2 * beta - beta**2) / size) + alpha**2
    error: Tensor = squares - 2 * along + 1
    return error


def _error_of_orthonormal(rule: WriteRule, pairs: int, key_size: int) -> Tensor:
    """Of orthonormal keys nothing interferes: pair j has been multiplied by alpha g^(n - j)."""
    kept = rule.gain * torch.exp(rule.log_decay * torch.arange(pairs, dtype=torch.float64))
    return (kept - 1).square()


def _random_keys(states: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    return normalize(torch.randn(states, count, size, dtype=torch.float64, generator=generator), dim=-1)


def _orthonormal_keys(states: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    bases: Tensor = torch.linalg.qr(torch.randn(states, size, size, dtype=torch.float64, generator=generator)).Q
    return bases[:, :count]


class _Keys(NamedTuple):
    draw: Callable[[int, int, int, torch.Generator], Tensor]  # states, pairs, K and a generator -> keys [states, pairs, K]
    theory: Callable[[WriteRule, int, int], Tensor]  # rule, pairs and K -> the expected error of each pair
    fits: Callable[[int, int], bool]  # whether there are so many keys of size K


KEYS = {
    "random": _Keys(_random_keys, expected_error, lambda count, size: True),
    "orthonormal": _Keys(_orthonormal_keys, _error_of_orthonormal, lambda count, size: count <= size),
}
