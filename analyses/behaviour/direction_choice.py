"""Which direction moves the output most, of several ways to find it and several activations, on data that never test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ...probe.subspaces.direction import Direction
from ...probe.tasks.base import Batch, generator_for
from .causal_check import Bench
from .measures import Measure
from .results.direction_choice import DirectionChoice

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def direction_choice(
    model: HookedModel,
    candidates: Sequence[Direction],
    batch: Batch,
    *,
    place: str,
    measure: Measure,
    where: Tensor,
    spreads: dict[str, Tensor],
    strength: float = 2.0,
    randoms: int = 10,
    taps: TapRequest | None = None,
    seed: int = 0,
) -> tuple[DirectionChoice, Direction]:
    """Steer along each candidate and choose the one that moves the output most, in units of what random directions do there.

    candidates: directions of one concept, each with its "method"; those of one activation go equally far, as their scale says.
    batch: validation data. where: [B, T], what counts. spreads: by hook, see `Subspace.random`. taps: of states.

    Effects have a sign: what lowers the measure is not chosen for how far it does. Returns the table and the choice. Raises
    ValueError where there is no candidate or no random direction, for directions of several concepts, for those of one activation
    that go differently far, and for an activation along which random directions do not move what is measured.
    """
    if not candidates or randoms < 1:
        raise ValueError(f"{len(candidates)} candidates beside {randoms} random directions; a choice needs one of both at least")
    if len(concepts := {direction.name for direction in candidates}) > 1:
        raise ValueError(f"candidates are of the concepts {', '.join(sorted(concepts))}; choose among those of one at a time")
    rows: list[dict[str, Any]] = []
    for hook in dict.fromkeys(direction.hook for direction in candidates):
        own = [direction for direction in candidates if direction.hook == hook]
        scales = [direction.scale for direction in own]
        if not np.allclose(scales, scales[0], rtol=1e-4, atol=0):
            raise ValueError(f"candidates at {hook} go {min(scales):g} to {max(scales):g} far; give them one scale by with_scale")
        bench = Bench(model, hook, batch, measure, where, None, taps)
        drawn = [Direction.random(own[0], generator_for(seed, 32, index), spreads[hook]) for index in range(randoms)]
        null = float(np.sqrt(np.mean([bench.effect(one.steer(strength)).mean() ** 2 for one in drawn])))
        if null == 0:
            raise ValueError(f"random directions at {hook} do not move what is measured; nothing behind it reads this activation")
        for direction in own:
            effect = float(bench.effect(direction.steer(strength)).mean())
            said = {"place": place, "direction": direction.name, "hook": hook, "method": direction.about.get("method", "")}
            rows.append(said | {"effect": effect, "random": null, "ratio": effect / null, "candidate": direction})
    table = pd.DataFrame(rows)
    best = int(table["ratio"].idxmax())
    table["chosen"] = table.index == best
    about = {"strength": strength, "randoms": randoms, "split": "validation", "seed": seed}
    return DirectionChoice(table[list(DirectionChoice.columns)], about), rows[best]["candidate"]
