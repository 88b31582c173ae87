"""Long products of transitions: exponents of growth without ever multiplying the product out."""

from __future__ import annotations

import torch
from torch import Tensor

from .transition import Transition

REORTHONORMALISE = 16  # tokens at most: at 64 the small exponents have lost six digits, at 128 all but two


def lyapunov_exponents(transitions: Transition, *, count: int | None = None, every: int = 8) -> Tensor:
    """Mean log growth a token along the `count` fastest directions (all K when None), descending: [..., count].

    For A_T ... A_1 with time the last batch axis of `transitions`, [..., T, K, K]. Benettin's method: a basis is carried
    through the tokens and re-orthonormalised by QR every `every` tokens, and the logs of R's diagonal are summed. A decay that
    is a multiple of the identity is kept apart as a logarithm, so that it cannot underflow. -inf where the product is singular.

    Raises ValueError where `every` is over 16, or there is no time axis.
    """
    if not 1 <= every <= REORTHONORMALISE:
        raise ValueError(f"every={every} must lie in 1 to {REORTHONORMALISE}: later the basis has lost its small directions")
    if transitions.left.ndim < 3:
        raise ValueError(f"transitions have shape {tuple(transitions.left.shape)}; they need a time axis, [..., T, K, r]")
    length, size = transitions.left.shape[-3], transitions.size
    count = size if count is None else count
    transitions, log_scale = _without_scale(transitions)
    basis = torch.eye(size, count, dtype=transitions.left.dtype, device=transitions.left.device)
    basis = basis.expand(*transitions.left.shape[:-3], size, count)
    total = basis.new_zeros(*basis.shape[:-2], count)
    for t in range(length):
        basis = _at(transitions, t).apply(basis)
        if (t + 1) % every == 0 or t + 1 == length:
            basis, triangle = torch.linalg.qr(basis)
            total = total + triangle.diagonal(dim1=-2, dim2=-1).abs().log()
    return ((total + log_scale[..., None]) / length).sort(dim=-1, descending=True).values


def product_of_householders(keys: Tensor, beta: Tensor, log_decay: Tensor | None = None) -> Transition:
    """The product of a window of delta-rule tokens, A_T ... A_1, as one Transition of rank T n.

    keys [..., T, n, K] unit vectors, beta [..., T, n], log_decay [..., T] or None: with a scalar decay the whole window is one
    product of T n generalised Householder matrices, whose spectrum is a problem of size T n where that is below K.
    """
    total = None if log_decay is None else log_decay.sum(-1)
    return Transition.householders(keys.flatten(-3, -2), beta.flatten(-2), total)


def _at(transitions: Transition, t: int) -> Transition:
    return Transition(transitions.diagonal[..., t, :], transitions.left[..., t, :, :], transitions.right[..., t, :, :])


def _without_scale(transitions: Transition) -> tuple[Transition, Tensor]:
    """The transitions divided by their scalar diagonal, if they have one that is nowhere 0, and the sum of its logs."""
    diagonal = transitions.diagonal
    if not transitions.is_scalar or bool((diagonal == 0).any()):
        return transitions, torch.zeros_like(diagonal[..., 0, 0])
    scaled = Transition(torch.ones_like(diagonal), transitions.left / diagonal[..., None], transitions.right)
    return scaled, diagonal[..., 0].abs().log().sum(-1)
