"""The state of one sequence over time, on its principal axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ..models import Models, named_models, real_parts, states_of
from .results.state_trajectory import AXES, StateTrajectory

MOST_FITTED = 1024
STILL = 1e-6  # of the largest entry: less is rounding


def state_trajectory(models: Models, tokens: Tensor, *, texts: Sequence[str], labels: Tensor, label: str) -> StateTrajectory:
    """Follow the states of every head over one sequence.

    models: a model, ours or a loaded one, or several by name; layers without a state are left out.
    tokens: [T], or one sequence [T, inputs] of real numbers.
    texts: the T tokens as text.
    labels: [T], a number for each token; label: their name.

    Principal axes are those of the head's own T states, centred. A complex state [n] counts as the 2n real numbers that are its
    real and imaginary parts, and `about["complex"]` names where; norms are the same either way. Where a state never changes,
    `about["still"]` names it, and it has no axes. T states have T - 1 axes at most; along further ones they all lie at 0. Raises
    ValueError for a model without a state, and for texts or labels that are not one a token.
    """
    for what, given in (("texts", texts), ("labels", labels)):
        if len(given) != len(tokens):
            raise ValueError(f"{what} has {len(given)} entries for {len(tokens)} tokens")
    tables, explained, turned, still = [], {}, [], []
    for name, model in named_models(models).items():
        for layer, states in states_of(model, tokens[None], Tap(every=1)):
            for head in range(states.shape[2]):
                place = f"{name}, layer {layer}, head {head}"
                table, explained[place] = follow(real_parts(states[0, :, head].flatten(1)))
                turned += [place] if states.is_complex() else []
                still += [place] if is_still(states[0, :, head]) else []
                where = {"model": name, "layer": layer, "head": head, "position": range(len(tokens))}
                tables.append(table.assign(**where, token=list(texts), label=labels.tolist()))
    about = {"label": label, "explained": explained, "complex": turned, "still": still}
    return StateTrajectory(pd.concat(tables, ignore_index=True), about)


def is_still(states: Tensor) -> bool:
    """Whether several states [T, ...] are one, to rounding."""
    return len(states) > 1 and bool((states - states[:1]).abs().max() <= STILL * states.abs().max())


def follow(states: Tensor) -> tuple[pd.DataFrame, float]:
    """Real states [T, n]: their coordinates, norms and changes, and the share of variance on the axes.

    The axes of more than 1,024 states are those of every second, third, ... of them, 1,024 at most.
    """
    centred = states - states.mean(0)
    _, _, right = torch.linalg.svd(centred[:: math.ceil(len(centred) / MOST_FITTED)], full_matrices=False)
    found = centred @ right[: min(AXES, len(states) - 1)].mT
    coordinates = np.pad(found.numpy(), ((0, 0), (0, AXES - found.shape[1])))
    variance = float(centred.square().sum())
    change = torch.cat([states[:1], states.diff(dim=0)]).norm(dim=1)
    table = pd.DataFrame(coordinates, columns=[f"axis_{axis + 1}" for axis in range(AXES)])
    table = table.assign(norm=states.norm(dim=1).numpy(), change=change.numpy())
    return table, float(found.square().sum()) / variance if variance > 0 else 1.0
