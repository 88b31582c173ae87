"""How a tangent kernel moves over training, whole and by the parts of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from .empirical_ntk import TangentKernel
from .measures import condition, effective_rank, kernel_distance, kernel_target_alignment, relative_change

WHOLE = "all parameters"


@dataclass(frozen=True)
class TangentMotion(Result, kind="tangent_motion"):
    """The tangent kernel at several steps of training beside that of the first, by groups of parameters."""

    title: ClassVar[str] = "Motion of the tangent kernel"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "group": 'group of parameters, such as a layer; "all parameters" is their sum',
        "step": "training step",
        "share": "trace of the group's kernel / trace of the whole",
        "change": "|K - K_0|_F / |K_0|_F, K_0 the kernel at the first step",
        "distance": "1 - cosine between K and K_0, which a mere factor leaves at 0",
        "velocity": "distance from the kernel at the step before, a training step",
        "alignment": "centred alignment of the kernel with the targets' own",
        "effective_rank": "trace^2 / |K|_F^2",
        "condition": "largest eigenvalue / least, infinite for a singular kernel",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("model", "group")

    def summary(self) -> str:
        ends = self.table[self.table["step"] > self.table["step"].min()].groupby(["model", "group"], sort=False).last()
        return "\n".join(
            f"{model}, {group}: by step {row.step:.0f} the kernel changed by {row.change:.3g} of itself and turned by "
            f"{row.distance:.3g}; alignment with the targets {row.alignment:.3f}, share of the trace {row.share:.2f}"
            for (model, group), row in ends.iterrows()
        )

    def specification(self) -> Figure:
        wanted = (
            ("change", "relative change", "Change since the first step"),
            ("alignment", "alignment with the targets", "Alignment"),
            ("share", "share of the trace", "Who holds the kernel"),
        )
        single = self.table["model"].nunique() == 1
        panels = []
        for column, label, title in wanted:
            lines = [
                Line(own["step"].to_numpy(), own[column].to_numpy(), str(group) if single else f"{model}, {group}", markers=True)
                for (model, group), own in self.table.groupby(["model", "group"], sort=False)
            ]
            panels.append(Panel(lines, "training step", label, title))
        return Figure(self.title, panels, alt=f"How the tangent kernel moves in training. {self.summary()}")


def tangent_motion(kernels: Mapping[tuple[str, int], TangentKernel], targets: Tensor) -> TangentMotion:
    """Compare the kernels of models at several steps with those at each one's first.

    kernels: by (model, training step), each [N, N], with parts by group or without. targets: [N] classes or [N, O] numbers.
    Raises ValueError for a model with one step alone, or kernels that are not [N, N].
    """
    rows: list[tuple[object, ...]] = []
    for model in dict.fromkeys(name for name, _ in kernels):
        steps = sorted(step for name, step in kernels if name == model)
        if len(steps) < 2:
            raise ValueError(f"motion needs two steps at least, {model} has {steps}")
        found = {step: _parts(kernels[model, step]) for step in steps}
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
