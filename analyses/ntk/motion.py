"""How a tangent kernel moves over training, whole and by the parts of the model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .empirical_ntk import TangentKernel
from .measures import condition, effective_rank, kernel_distance, kernel_target_alignment, relative_change
from .results.motion import WHOLE, TangentMotion


def tangent_motion(kernels: Mapping[tuple[str, int], TangentKernel], targets: Tensor) -> TangentMotion:
    """Compare the kernels of models at several steps with those at each one's first.

    kernels: by (model, training step), each [N, N], with parts by group or without. targets: [N] classes or [N, O] numbers.
    Raises ValueError for a model with one step alone or with other groups at one step than at another, no kernels, or kernels
    that are not [N, N].
    """
    if not kernels:
        raise ValueError("motion needs kernels, by model and step; none were given")
    rows: list[tuple[object, ...]] = []
    for model in dict.fromkeys(name for name, _ in kernels):
        steps = sorted(step for name, step in kernels if name == model)
        if len(steps) < 2:
            raise ValueError(f"motion needs two steps at least, {model} has {steps}")
        found = {step: _parts(kernels[model, step]) for step in steps}
        if any(parts.keys() != found[steps[0]].keys() for parts in found.values()):
            raise ValueError(f"the kernels of {model} have other groups at one step than at another; give `group` to all of them")
        for group in found[steps[0]]:
            own = {step: found[step][group] for step in steps}
            first, velocity = own[steps[0]], [np.nan]
            for before, after in pairwise(steps):
                velocity.append(kernel_distance(own[after], own[before]) / (after - before))
            for step, speed in zip(steps, velocity, strict=True):
                rows.append((model, group, step, *_measured(own[step], found[step][WHOLE], first, speed, targets)))
    return TangentMotion(pd.DataFrame(rows, columns=list(TangentMotion.columns)), {"samples": len(targets)})


def _parts(kernel: TangentKernel) -> dict[str, Tensor]:
    if kernel.values.ndim != 2:
        raise ValueError(f"kernels must be [N, N], got {list(kernel.values.shape)}; ask for the trace or one output")
    return {WHOLE: kernel.values, **kernel.parts}


def _measured(kernel: Tensor, whole: Tensor, first: Tensor, speed: float, targets: Tensor) -> tuple[float, ...]:
    return (
        float(kernel.trace() / whole.trace()),
        relative_change(kernel, first),
        kernel_distance(kernel, first),
        speed,
        kernel_target_alignment(kernel, targets),
        effective_rank(kernel),
        condition(torch.linalg.eigvalsh(kernel)),
    )
