"""Long products of transitions: exponents of growth without ever multiplying the product out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .operators.transition import SINGULAR, Transition

REORTHONORMALISE = 16  # tokens at most: at 64 the small exponents have lost six digits, at 128 all but two
UNRESOLVED = math.log(SINGULAR * torch.finfo(torch.float64).eps)  # of a stretch beside the largest


class UnresolvedError(ValueError):
    """One token stretches some directions so much more than others that float64 does not hold both."""


def lyapunov_exponents(transitions: Transition, *, count: int | None = None, every: int = 8) -> Tensor:
    """Mean log growth a token along the `count` fastest directions (all K when None), descending: float64 [..., count].

    For A_T ... A_1 with time the last batch axis of `transitions`, [..., T, K, K], real or complex. Benettin's method, in
    float64: a basis is carried through the tokens and re-orthonormalised by QR every `every` tokens, and the logs of R's
    diagonal are summed. Scalar decays are kept apart as logarithms, so that they cannot underflow, and diagonal transitions
    need no basis.

    -inf along directions that a singular token (see `Transition.log_abs_det`) erases. Where `every` tokens spread directions
    further apart than float64 resolves, QR follows each of them.

    Raises ValueError where `every` is over 16 or there is no time axis; UnresolvedError where one regular token alone spreads
    the directions asked for further apart than float64 resolves.
    """
    if not 1 <= every <= REORTHONORMALISE:
        raise ValueError(f"every={every} must lie in 1 to {REORTHONORMALISE}: later the basis has lost its small directions")
    if transitions.left.ndim < 3:
        raise ValueError(f"transitions have shape {tuple(transitions.left.shape)}; they need a time axis, [..., T, K, r]")
    *lead, length, size, _ = transitions.shape
    count = size if count is None else count
    if transitions.rank == 0:
        growth = _log_gain(transitions.double()).expand(*lead, length, size).mean(-2)
        return growth.sort(dim=-1, descending=True).values[..., :count]
    singular = transitions.log_abs_det() == -torch.inf  # by the rounding of the dtype that they were given in
    erased = math.log(SINGULAR * torch.finfo(transitions.dtype).eps)
    core, total = _without_scale(transitions.double())
    basis = torch.eye(size, count, dtype=core.dtype, device=core.device).expand(*lead, size, count)
    total = total[..., None].expand(*lead, count)
    for first in range(0, length, every):
        tokens = range(first, min(first + every, length))
        logs, ahead = _stretch(core, tokens, basis)
        if bool(singular[..., tokens.start : tokens.stop].any() | (logs <= _largest(logs) + UNRESOLVED).any()):
            logs, ahead = torch.zeros_like(logs), basis
            for t in tokens:
                own, ahead = _stretch(core, [t], ahead)
                gone = singular[..., t, None] & (own <= _largest(own) + erased)
                if bool(((own <= _largest(own) + UNRESOLVED) & ~gone).any()):
                    raise UnresolvedError(
                        f"token {t} spreads directions further apart than float64 resolves; ask for fewer of them with count="
                    )
                logs = logs + own.masked_fill(gone, -torch.inf)
        basis, total = ahead, total + logs
    return (total / length).sort(dim=-1, descending=True).values


def _stretch(transitions: Transition, tokens: Sequence[int], basis: Tensor) -> tuple[Tensor, Tensor]:
    """The basis behind these tokens, orthonormal again, and the logs of how far each of its directions was stretched."""
    for t in tokens:
        basis = transitions[..., t].matmat(basis)
    basis, triangle = torch.linalg.qr(basis)
    return triangle.diagonal(dim1=-2, dim2=-1).abs().log(), basis


def _largest(logs: Tensor) -> Tensor:
    return logs.amax(-1, keepdim=True)


def _log_gain(transitions: Transition) -> Tensor:
    """Log |d e^g|, [..., T, 1 or K]."""
    log_diagonal = transitions.undecayed.abs().log()
    return log_diagonal if transitions.log_decay is None else log_diagonal + transitions.log_decay.real


def _without_scale(transitions: Transition) -> tuple[Transition, Tensor]:
    """The transitions divided by their scalar gain, if they have one that is nowhere 0, and the sum over time of its logs."""
    diagonal = transitions.undecayed
    if not transitions.is_scalar or bool((diagonal == 0).any()):
        return transitions, torch.zeros_like(diagonal.real[..., 0, 0])
    core = Transition(torch.ones_like(diagonal), transitions.left / diagonal[..., None], transitions.reads)
    return core, _log_gain(transitions)[..., 0].sum(-1)
