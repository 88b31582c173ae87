"""Long products of transitions: exponents of growth without ever multiplying the product out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .operators.low_rank import SINGULAR
from .operators.transition import Transition

REORTHONORMALISE = 16  # tokens at most: at 64 the small exponents have lost six digits, at 128 all but two
UNRESOLVED = math.log(SINGULAR * torch.finfo(torch.float64).eps)  # of a stretch beside the largest
TOGETHER = math.log(1e-4)  # of a stretch beside the largest: what several tokens at once spread further has lost digits


class UnresolvedError(ValueError):
    """One token stretches some directions so much more than others that float64 does not hold both."""


def lyapunov_exponents(transitions: Transition, *, count: int | None = None, every: int = 8) -> Tensor:
    """Mean log growth a token along the `count` fastest directions (all K when None), descending: float64 [..., count].

    For A_T ... A_1 with time the last batch axis of `transitions`, [..., T, K, K], real or complex. Benettin's method, in
    float64: a basis is carried through the tokens and re-orthonormalised by QR every `every` tokens, which are multiplied into
    one transition of the ranks of all, and the logs of R's diagonal are summed. Scalar decays are kept apart as logarithms, so
    that they cannot underflow, and diagonal transitions need no basis.

    -inf along directions that a singular token (see `Transition.log_abs_det`) erases. Where `every` tokens spread directions
    further apart than by 1e4, QR follows each half of them, down to single tokens.

    Raises ValueError where `every` is over 16, `count` over K, or there is no token; UnresolvedError where one regular token
    alone spreads the directions asked for further apart than float64 resolves.
    """
    if not 1 <= every <= REORTHONORMALISE:
        raise ValueError(f"every={every} must lie in 1 to {REORTHONORMALISE}: later the basis has lost its small directions")
    if transitions.left.ndim < 3:
        raise ValueError(f"transitions have shape {tuple(transitions.left.shape)}; they need a time axis, [..., T, K, r]")
    *lead, length, size, _ = transitions.shape
    count = size if count is None else count
    if not 1 <= count <= size or not length:
        raise ValueError(
            f"count={count} must lie in 1 to the {size} directions that there are, of 1 token or more ({length} given)"
        )
    if transitions.rank == 0:
        growth = transitions.double().log_gain.expand(*lead, length, size).mean(-2)
        return growth.sort(dim=-1, descending=True).values[..., :count]
    singular = transitions.log_abs_det() == -torch.inf  # by the rounding of the dtype that they were given in
    erased = math.log(SINGULAR * torch.finfo(transitions.dtype).eps)
    core, total = _without_scale(transitions.double())
    basis = torch.eye(size, count, dtype=core.dtype, device=core.device).expand(*lead, size, count)
    total = total[..., None].expand(*lead, count)
    whole = _multiplied(core[..., : length - length % every], every)
    carried = _Carried(core, singular, erased)
    for first in range(0, length, every):
        last = min(first + every, length)
        block = whole[..., first // every] if last - first == every else None
        logs, basis = carried.through(first, last, basis, block)
        total = total + logs
    return (total / length).sort(dim=-1, descending=True).values


@dataclass(frozen=True)
class _Carried:
    """How a basis goes through tokens.

    core: the transitions, [..., T, K, K]. singular: which tokens erase a direction, [..., T]. erased: the log of the stretch,
    beside the largest, of what they erase.
    """

    core: Transition
    singular: Tensor
    erased: float

    def through(self, first: int, last: int, basis: Tensor, block: Transition | None = None) -> tuple[Tensor, Tensor]:
        """The logs of how far tokens first .. last - 1 stretch each direction of a basis, and the basis behind them.

        block: the product of these tokens, if it is there already.
        """
        if last - first > 1:
            if block is None:
                block = _multiplied(self.core[..., first:last], last - first)[..., 0]
            logs, ahead = _stretch(block, basis)
            if not bool(self.singular[..., first:last].any() | (logs <= _largest(logs) + TOGETHER).any()):
                return logs, ahead
            middle = (first + last) // 2
            before, half = self.through(first, middle, basis)
            after, ahead = self.through(middle, last, half)
            return before + after, ahead
        logs, ahead = _stretch(self.core[..., first], basis)
        gone = self.singular[..., first, None] & (logs <= _largest(logs) + self.erased)
        if bool(((logs <= _largest(logs) + UNRESOLVED) & ~gone).any()):
            raise UnresolvedError(
                f"token {first} spreads directions further apart than float64 resolves; ask for fewer of them with count="
            )
        return logs.masked_fill(gone, -torch.inf), ahead


def _multiplied(transitions: Transition, every: int) -> Transition:
    """The products of `every` tokens each, [..., T / every]; dense where their ranks together are as large as the matrix."""
    lead = transitions.shape[:-3]
    parts = transitions.each(lambda part: part.unflatten(len(lead), (-1, every)))
    after = (*(slice(None),) * len(lead), slice(None))
    product = parts[(*after, 0)]
    if product.rank * every >= product.size:
        matrix = product.dense()
        for t in range(1, every):
            matrix = parts[(*after, t)].matmat(matrix)
        identity = torch.eye(product.size, dtype=matrix.dtype, device=matrix.device).expand(matrix.shape)
        return Transition(torch.zeros_like(matrix[..., 0]), matrix, identity)
    for t in range(1, every):
        product = parts[(*after, t)].compose(product)
    return product


def _stretch(transition: Transition, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The basis behind a transition, orthonormal again, and the logs of how far each of its directions was stretched."""
    basis, triangle = torch.linalg.qr(transition.matmat(basis))
    return triangle.diagonal(dim1=-2, dim2=-1).abs().log(), basis


def _largest(logs: Tensor) -> Tensor:
    return logs.amax(-1, keepdim=True)


def _without_scale(transitions: Transition) -> tuple[Transition, Tensor]:
    """The transitions divided by their scalar gain, if they have one that is nowhere 0, and the sum over time of its logs."""
    diagonal = transitions.undecayed
    if not transitions.is_scalar or bool((diagonal == 0).any()):
        return transitions, torch.zeros_like(diagonal.real[..., 0, 0])
    core = Transition(torch.ones_like(diagonal), transitions.left / diagonal[..., None], transitions.reads)
    return core, transitions.log_gain[..., 0].sum(-1)
