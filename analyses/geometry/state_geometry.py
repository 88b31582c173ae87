"""What a state holds, token by token: its rank and size, what a token writes and erases, and what it writes over.

For S_t = A_t S_{t-1} + B_t with the keys on the first axis of a matrix state [K, V]:

    entropy          H = -sum_i p_i log p_i,  p_i = sigma_i / sum_j sigma_j,  of the singular values of S_t
    effective rank   e^H (Roy and Vetterli 2007)
    stable rank      |S_t|_F^2 / |S_t|_2^2
    written          |B_t|_F
    erased           |S_{t-1} - A_t S_{t-1}|_F, what the transition takes away, decay included
    interference     |U^* S_{t-1}|_F^2 / |S_{t-1}|_F^2, U an orthonormal basis of the keys that B_t writes along: the share of
                     what is stored that lies where the token writes; rank(B_t) / K for keys that know nothing of the state

A state may be small because what was written and what was there cancel, and is then known to the rounding of those alone. So
singular values count in the rank where they are above the tolerance beside c_t = max(sigma_1, |B_t|, min(1, |A_t|) c_{t-1}), the
size of what the state was made of and that has not decayed since; a state with none above is 0 but for rounding, and has no rank.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Tap
from ..models import Models, named_models, shows, states_of, transitions_of, writes_of
from ..rows import rows_of
from .results.state_geometry import StateGeometry

BALANCED = 1e-3  # of the largest state: how far S_t may be from A_t S_{t-1} + B_t by rounding


def state_geometry(models: Models, tokens: Tensor, *, tolerance: float = 1e-5) -> StateGeometry:
    """The geometry of every head's state after every token, in float64.

    models: a model, ours or a loaded one, or several by name; layers without a state are left out.
    tokens: [B, T].
    tolerance: of `rank`, beside the size of what the state was made of (see above).

    A vector state is a matrix of one column, and a cell's parts are one vector. Where what the hooks of a mixer show is not
    S_t = A_t S_{t-1} + B_t, as where it keeps its state on a scale of its own, "erased" is nan and `about["scaled"]` names where.
    Raises ValueError for a model without a state.
    """
    named, tables, scaled = named_models(models), [], []
    for name, model in named.items():
        transitions = dict(transitions_of(model, tokens)) if shows(model, "attn.hook_transition") else {}
        writes = dict(writes_of(model, tokens, Tap(every=1))) if shows(model, "attn.hook_write") else {}
        for layer, states in states_of(model, tokens, Tap(every=1)):
            matrices = _matrices(states, layer in writes)
            write = _matrices(writes[layer], True) if layer in writes else None
            measured, on_its_scale = _measured(matrices, write, transitions.get(layer), tolerance)
            scaled += [] if on_its_scale else [f"{name}, layer {layer}"]
            tables.append(rows_of(measured, model=name, layer=layer))
    about = {"tokens": tokens.shape[1], "sequences": len(tokens), "tolerance": tolerance, "scaled": scaled}
    return StateGeometry(pd.concat(tables, ignore_index=True)[list(StateGeometry.columns)], about)


def _measured(
    matrices: Tensor, write: Tensor | None, transition: Transition | None, tolerance: float
) -> tuple[dict[str, Tensor], bool]:
    """The columns of `StateGeometry` of states [B, T, H, K, V], and whether S_t = A_t S_{t-1} + B_t holds where both are told."""
    before = torch.cat([torch.zeros_like(matrices[:, :1]), matrices[:, :-1]], dim=1)
    told: dict[str, Tensor] = {}
    made_of, balanced = None, True
    if write is not None:
        written = torch.linalg.matrix_norm(write)
        told = {"written": written, "interference": interference(write, before)}
        if transition is not None:
            kept = _applied(transition, before)
            balanced = _balanced(matrices, kept + write)
            if balanced:
                told["erased"] = torch.linalg.matrix_norm(before - kept)
                made_of = sizes_made_of(matrices, written, transition.norm())
    measured = ranks_of(matrices, tolerance, made_of)
    missing = torch.full_like(measured["norm"], torch.nan)
    return measured | dict.fromkeys(("written", "erased", "interference"), missing) | told, balanced


def ranks_of(matrices: Tensor, tolerance: float, made_of: Tensor | None = None) -> dict[str, Tensor]:
    """Norm, rank, effective and stable rank and entropy of matrices [..., K, V]; ranks of a zero matrix are 0.

    made_of: [...], what singular values are compared with (see `sizes_made_of`); the largest of each matrix when None.
    """
    singular = torch.linalg.svdvals(matrices)
    largest = singular[..., 0]
    above = singular > tolerance * (largest if made_of is None else made_of)[..., None]
    some = above.any(-1)
    shares = singular / torch.where(some, singular.sum(-1), 1.0)[..., None] * some[..., None]
    entropy = torch.special.entr(shares).sum(-1)
    return {
        "norm": singular.square().sum(-1).sqrt(),
        "rank": above.sum(-1),
        "effective_rank": entropy.exp() * some,
        "stable_rank": singular.square().sum(-1) / torch.where(some, largest, 1.0).square() * some,
        "entropy": entropy,
    }


def sizes_made_of(matrices: Tensor, written: Tensor, gains: Tensor) -> Tensor:
    """c_t of states [B, T, H, K, V] from |B_t| and |A_t|, each [B, T, H]: what a state is known to the rounding of."""
    sizes = torch.maximum(torch.linalg.matrix_norm(matrices, ord=2), written)
    now, found = torch.zeros_like(sizes[:, 0]), []
    for size, gain in zip(sizes.unbind(1), gains.clamp(max=1).unbind(1), strict=True):
        now = torch.maximum(size, gain * now)
        found.append(now)
    return torch.stack(found, dim=1)


def interference(write: Tensor, before: Tensor) -> Tensor:
    """The share of |before|^2 along the keys of `write`, both [..., K, V]; nan where nothing is stored or written."""
    common = torch.promote_types(write.dtype, before.dtype)
    write, before = write.to(common), before.to(common)
    left, singular, _ = torch.linalg.svd(write, full_matrices=False)
    along = singular > 1e-6 * singular[..., :1]
    shared: Tensor = ((left * along.to(common)[..., None, :]).mH @ before).abs().square().sum((-2, -1))
    stored = before.abs().square().sum((-2, -1))
    share: Tensor = shared / torch.where(stored > 0, stored, 1.0)
    return share.masked_fill((stored == 0) | (singular[..., 0] == 0), torch.nan)


def _matrices(states: Tensor, linear: bool) -> Tensor:
    """[B, T, H, K, V] of states: a vector, and all that a cell holds, as one column."""
    return states if linear and states.ndim == 5 else states.flatten(3)[..., None]


def _applied(transition: Transition, before: Tensor) -> Tensor:
    return transition.matmat(before.to(torch.promote_types(before.dtype, transition.dtype)))


def _balanced(after: Tensor, made: Tensor) -> bool:
    largest = after.abs().max().clamp(min=1e-300)
    return bool((after - made).abs().max() <= BALANCED * largest)
