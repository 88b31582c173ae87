"""Where a cell comes to rest while one token is repeated, and what becomes of a state near by (Sussillo and Barak 2013).

With its input held, a cell is an autonomous map h -> F(h). A fixed point h = F(h) attracts its surroundings where all eigenvalues
of dF/dh there have a modulus below 1, and repels them along each that is above: a cell that keeps a bit has two that attract and
one between them that does not.

They are found by Newton's method on F(h) - h from visited states, and from where these are after the token has been repeated for
long, damped as Levenberg and Marquardt's where a step does not help; each is counted once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.hooks.names import hook_name
from ...probe.mixers.cells import CellMixer
from ...probe.tasks.base import generator_for
from ..models import Models, named_models
from .results.fixed_points import NO_INPUT, FixedPoints

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

REPEATED = 50  # tokens before the second half of the searches
STEPS = 80  # of Newton's method
STUCK = 1e10  # the damping at which no step helps
RESIDUAL = 1e-10  # |F(h) - h| of a fixed point, beside 1 + |h|
SAME = 1e-5  # of two fixed points that are one, beside 1 + |h|
FLAT = 1e-2  # least singular value of dF/dh - 1 below which a fixed point's place is not told to SAME
MARGIN = 1e-6  # of a modulus from 1 that says neither
Found = tuple[Tensor, Tensor, Tensor]


def fixed_points(models: Models, tokens: Tensor, *, starts: int = 64, held: int = 8, seed: int = 0) -> FixedPoints:
    """Find the fixed points of every head of every cell, for each token held and for no input.

    models: a model, or several by name; layers that are no cells are left out.
    tokens: [B, T]. The states after them are where the search starts, and a token is held at the mean of its pre-activations.
    starts: states to begin from, besides zero, drawn from those visited and twice as far from their mean.
    held: tokens at most, those that come most often.

    More starts may find more fixed points: that these are all is not shown. Raises ValueError for a model without a cell.
    """
    rows: list[tuple[Any, ...]] = []
    none = []
    for name, model in named_models(models).items():
        for layer, mixer, inputs, states in _visited(model, tokens):
            begin = _starts(states, starts, seed)
            mean, axes = _axes(states)
            drives = _drives(inputs, tokens, held)
            for token, by_head in zip(drives, search(mixer, torch.stack(list(drives.values())), begin), strict=True):
                for head, (points, shares, values) in enumerate(by_head):
                    if not len(points):
                        none.append(f"{name}, layer {layer}, head {head}, token {token}")
                    where = ((points - mean[head]) @ axes[head]).numpy()
                    for index in range(len(points)):
                        moduli = values[index].abs()
                        lead = values[index][moduli.argmax()]
                        said = (float(lead.abs()), abs(float(lead.angle())), int((moduli > 1 + MARGIN).sum()))
                        place = (float(shares[index]), float(points[index].norm()), *map(float, where[index]))
                        rows.append((name, layer, head, token, index, kind_of(moduli), *said, *place))
    about = {"starts": len(begin), "none": none, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return FixedPoints(pd.DataFrame(rows, columns=list(FixedPoints.columns)), about)


def search(mixer: CellMixer, drives: Tensor, begin: Tensor) -> list[list[Found]]:
    """The fixed points under pre-activations [D, H, G, V] held, from states [n, H, P, V]: for each drive and head.

    Each has points [m, P V], the share of starts that lead to each [m], and the eigenvalues of its Jacobian [m, P V].
    """
    from_each = begin.double().repeat(len(drives), 1, 1, 1)
    repeated = mixer.held(drives.repeat_interleave(len(begin), dim=0), from_each, REPEATED)
    both = torch.stack([part.unflatten(0, (len(drives), -1)) for part in (from_each, repeated)], dim=1).flatten(0, 2)
    state, after, jacobian = _rested(mixer, drives.double().repeat_interleave(2 * len(begin), dim=0), both)
    found = _gap(after, state) <= RESIDUAL * _scale(state)
    points, jacobian, found = (part.unflatten(0, (len(drives), -1)) for part in (state.flatten(2), jacobian, found))

    def still(drive: int, head: int, points: Tensor) -> Tensor:
        """Whether states [m, P V] of a head stay where they are."""
        others = begin[:1].double().repeat(len(points), 1, 1, 1)
        others[:, head] = points.unflatten(-1, begin.shape[2:])
        moved, _ = mixer.step(drives[drive].double().expand(len(points), *drives.shape[1:]), others)
        return (_gap(moved, others) <= RESIDUAL * _scale(others))[:, head]

    return [
        [
            _distinct(points[drive, :, head], jacobian[drive, :, head], found[drive, :, head], partial(still, drive, head))
            for head in range(begin.shape[1])
        ]
        for drive in range(len(drives))
    ]


def _rested(mixer: CellMixer, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States moved toward F(h) = h, with F and its Jacobian there."""
    damping = torch.full(state.shape[:2], 1e-3, dtype=torch.float64)
    after, jacobian = mixer.step(inputs, state)
    identity = torch.eye(jacobian.shape[-1], dtype=torch.float64)
    for _ in range(STEPS):
        gap = _gap(after, state)
        if bool(((gap <= 0.01 * RESIDUAL * _scale(state)) | (damping >= STUCK)).all()):
            break
        slope = jacobian - identity
        normal = slope.mT @ slope + damping[..., None, None] * identity
        step = torch.linalg.solve(normal, -(slope.mT @ (after - state).flatten(2)[..., None]))[..., 0]
        tried = state + step.unflatten(-1, state.shape[2:])
        there, around = mixer.step(inputs, tried)
        better = _gap(there, tried) < gap  # never where it is nan
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-15, STUCK)
        state, after, jacobian = (
            torch.where(better[(...,) + (None,) * (new.ndim - 2)], new, old)
            for new, old in ((tried, state), (there, after), (around, jacobian))
        )
    return state, after, jacobian


def kind_of(moduli: Tensor) -> str:
    """The kind of a fixed point from the moduli of its eigenvalues."""
    above = moduli > 1 + MARGIN
    if bool(above.all()):
        return "repels"
    if bool(above.any()):
        return "saddle"
    return "attracts" if bool((moduli < 1 - MARGIN).all()) else "marginal"


def _distinct(points: Tensor, jacobians: Tensor, found: Tensor, still: Callable[[Tensor], Tensor]) -> Found:
    """Each fixed point once, the one most starts lead to first. Where the Jacobian has an eigenvalue next to 1 they are one if
    the state half-way between them rests too.
    """
    starts, points, jacobians = len(found), points[found], jacobians[found]
    flat = torch.linalg.svdvals(jacobians - torch.eye(points.shape[-1], dtype=points.dtype))[:, -1] < FLAT
    kept: list[int] = []
    counts: list[int] = []
    for index, point in enumerate(points):
        near = (points[kept] - point).norm(dim=-1) <= SAME * (1 + float(point.norm()))
        if kept and bool(flat[index]) and not bool(near.any()):
            near = still((points[kept] + point) / 2)
        if bool(near.any()):
            counts[int(near.int().argmax())] += 1
        else:
            kept.append(index)
            counts.append(1)
    order = sorted(range(len(kept)), key=lambda place: -counts[place])
    chosen = [kept[place] for place in order]
    shares = torch.tensor([counts[place] for place in order], dtype=torch.float64) / starts
    return points[chosen], shares, torch.linalg.eigvals(jacobians[chosen])


def _gap(after: Tensor, state: Tensor) -> Tensor:
    """|F(h) - h| of each head, [n, H]."""
    gap: Tensor = (after - state).flatten(2).norm(dim=-1)
    return gap


def _scale(state: Tensor) -> Tensor:
    scale: Tensor = 1 + state.flatten(2).norm(dim=-1)
    return scale


def _visited(model: HookedModel, tokens: Tensor) -> list[tuple[int, CellMixer, Tensor, Tensor]]:
    """Each cell of a model with its pre-activations [B, T, H, G, V] and states [B, T, H, P, V]."""
    cells = {layer: model.mixer(layer) for layer in range(model.layers) if isinstance(model.mixer(layer), CellMixer)}
    if not cells:
        raise ValueError(f"no layer of this model is a cell (its mixers: {model.mixer_kinds})")
    names = [hook_name(layer, place) for layer in cells for place in ("attn.hook_inputs", "attn.hook_state")]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=names, return_type=None, taps=Tap(every=1))
    return [
        (
            layer,
            cast(CellMixer, mixer),
            *(cache[hook_name(layer, f"attn.hook_{place}")].cpu().double() for place in ("inputs", "state")),
        )
        for layer, mixer in cells.items()
    ]


def _starts(states: Tensor, count: int, seed: int) -> Tensor:
    """Zero, visited states, and states twice as far from their mean: [1 + count, H, P, V]."""
    flat = states.flatten(0, 1)
    drawn = flat[torch.randint(0, len(flat), (count,), generator=generator_for(seed))]
    further = torch.arange(count) % 2 == 1
    drawn = torch.where(further[:, None, None, None], 2 * drawn - flat.mean(0), drawn)
    return torch.cat([torch.zeros_like(flat[:1]), drawn])


def _axes(states: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [H, P V] and two principal axes [H, P V, 2] of each head's states."""
    flat = states.flatten(3).flatten(0, 1).movedim(1, 0)
    mean = flat.mean(1)
    _, _, axes = torch.linalg.svd(flat - mean[:, None], full_matrices=False)
    two = axes[:, :2].mT
    return mean, torch.nn.functional.pad(two, (0, 2 - two.shape[-1]))


def _drives(inputs: Tensor, tokens: Tensor, held: int) -> dict[str, Tensor]:
    """What is held, by name: pre-activations [H, G, V]."""
    drives = {NO_INPUT: torch.zeros_like(inputs[0, 0])}
    values, counts = tokens.unique(return_counts=True)
    for value in values[counts.argsort(descending=True, stable=True)][:held].tolist():
        drives[str(value)] = inputs[tokens == value].mean(0)
    return drives
