"""Real numbers as tokens: three significant digits and a power of ten (Charton 2022, arXiv:2112.01898).

A number is sign * mantissa * 10^exponent with a mantissa from 100 to 999, or 0, and one of 16 exponents. Encodings differ in
what is one token: each digit (P10), the mantissa (P1000), the mantissa with its sign (B1999), or all of it (FP15, of 15 bits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...kernels.shown import with_shapes

EncodingName = Literal["P10", "P1000", "B1999", "FP15"]
LOWEST, EXPONENTS = -8, 16
LEAST, MOST = 10.0 ** (LOWEST + 2), 9.995 * 10.0 ** (LOWEST + EXPONENTS + 1)
PRECISION = 0.005  # of a number, at most: half a unit of a mantissa of 100


@dataclass(frozen=True)
class NumberEncoding:
    """How the tokens of a number are made of (negative 0 or 1, mantissa, exponent from 0), and read; each place has its range.

    sizes: how many values each place has. split, join: between the three whole numbers and those of the places.
    """

    sizes: tuple[int, ...]
    split: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
    join: Callable[..., tuple[Tensor, Tensor, Tensor]]

    __repr__ = with_shapes

    @property
    def vocabulary(self) -> int:
        """Number of different tokens; places share none, but for the digits of P10."""
        return max(start + size for start, size in zip(self.starts, self.sizes, strict=True))

    @property
    def starts(self) -> tuple[int, ...]:
        """The first token of each place; places that follow each other and have the same size share theirs."""
        starts, end = list[int](), 0
        for place, size in enumerate(self.sizes):
            same = place > 0 and self.sizes[place - 1] == size
            starts.append(starts[-1] if same else end)
            end = starts[-1] + size
        return tuple(starts)

    def encode(self, values: Tensor) -> Tensor:
        """The tokens [..., places] of numbers [...], each rounded to three digits, and to 0 below 1e-6.

        Raises ValueError for numbers that are not finite, or too large for an exponent.
        """
        size = values.double().abs()
        if not bool((size < MOST).all()):
            raise ValueError(f"numbers must be finite and below {MOST:.4g} in size")
        zero = size < LEAST
        exponent = torch.where(zero, 1.0, size).log10().floor() - 2
        mantissa = (torch.where(zero, 0.0, size) / 10.0**exponent).round()
        carried = mantissa >= 1000
        mantissa, exponent = torch.where(carried, mantissa / 10, mantissa).round(), exponent + carried
        negative = (values < 0) & ~zero
        places = self.split(negative.long(), mantissa.long(), torch.where(zero, 0, exponent.long() - LOWEST))
        return torch.stack([place + start for place, start in zip(places, self.starts, strict=True)], -1)

    def decode(self, tokens: Tensor) -> Tensor:
        """The numbers [...] of tokens [..., places], in float64; nan for tokens that no place has there."""
        if tokens.shape[-1] != len(self.sizes):
            raise ValueError(f"a number has {len(self.sizes)} tokens, got {tuple(tokens.shape)}")
        places = tokens - torch.tensor(self.starts)
        right = ((places >= 0) & (places < torch.tensor(self.sizes))).all(-1)
        negative, mantissa, exponent = self.join(*places.unbind(-1))
        values = (1.0 - 2.0 * negative) * mantissa * 10.0 ** (exponent + LOWEST).double()
        return torch.where(right, values, torch.nan)


def _signed(negative: Tensor, mantissa: Tensor) -> Tensor:
    return torch.where(negative == 1, -mantissa, mantissa) + 999


def _unsigned(signed: Tensor) -> tuple[Tensor, Tensor]:
    return (signed < 999).long(), (signed - 999).abs()


ENCODINGS: dict[EncodingName, NumberEncoding] = {
    "P10": NumberEncoding(
        (2, 10, 10, 10, EXPONENTS),
        lambda negative, mantissa, exponent: (negative, mantissa // 100, mantissa // 10 % 10, mantissa % 10, exponent),
        lambda negative, hundreds, tens, ones, exponent: (negative, 100 * hundreds + 10 * tens + ones, exponent),
    ),
    "P1000": NumberEncoding((2, 1000, EXPONENTS), lambda *parts: parts, lambda *parts: parts),
    "B1999": NumberEncoding(
        (1999, EXPONENTS),
        lambda negative, mantissa, exponent: (_signed(negative, mantissa), exponent),
        lambda signed, exponent: (*_unsigned(signed), exponent),
    ),
    "FP15": NumberEncoding(
        (1999 * EXPONENTS,),
        lambda negative, mantissa, exponent: (_signed(negative, mantissa) * EXPONENTS + exponent,),
        lambda both: (*_unsigned(both // EXPONENTS), both % EXPONENTS),
    ),
}
