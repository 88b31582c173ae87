"""Whether a direction matters to what a model does: it is taken out and moved along, beside random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ...probe.hooks.names import hook_name, layer_of
from ...probe.models.model import Model
from ...probe.statistics.corrections import false_discovery_rates
from ...probe.statistics.groups import group_bootstrap
from ...probe.statistics.nulls import beside_null
from ...probe.subspaces.subspace import HookFunction, Subspace
from ...probe.tasks.base import Batch, generator_for
from .measures import Measure, token_loss
from .results.causal_check import CausalCheck

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

Operation = Literal["ablate", "reflect"]


def causal_check(
    model: HookedModel,
    direction: Subspace,
    batch: Batch,
    *,
    measure: Measure = token_loss,
    operations: Sequence[Operation] = ("ablate", "reflect"),
    strengths: Sequence[float] = (),
    control: Subspace | None = None,
    where: Tensor | None = None,
    changed: Tensor | None = None,
    randoms: int = 100,
    spread: Tensor | None = None,
    accuracy: float = float("nan"),
    taps: TapRequest | None = None,
    name: str = "model",
    seed: int = 0,
) -> CausalCheck:
    """Change an activation along a direction or subspace, and measure the output of the same inputs with and without.

    batch: held-out sequences. measure: what is looked at, see `measures`.
    operations: what is done to the activation at all positions; of a state, at its taps, from where the recurrence goes on.
    strengths: steering is added by these, in units of the direction's scale; a subspace of several dimensions is not steered.
    control: another direction of the same activation that gets the same treatment, such as that of the control task of the sweep
        that the direction comes from, `probe_direction(fitted, hook, label, control=True)`.
    where: [B, T], true at the positions that count; all that have a measure when None.
    changed: [B, T], true at the positions whose activation is changed, where it has one vector a position; all when None.
    randoms: how many random subspaces of the same rank and scale make the null. spread: from where they are drawn, see
        `Subspace.random`; without it all directions are alike, which is an easy null where activations vary along few.
    accuracy: held-out score of the probe that goes with the direction, to stand beside. taps: of states. name: of the model.

    Raises ValueError where nothing is measured or done, where the measure is not finite, and for the strengths of a subspace.
    """
    if not operations and not len(strengths):
        raise ValueError("there is nothing to do: give operations, or strengths to steer by")
    if len(strengths) and direction.rank > 1:
        raise ValueError(f"{direction.name} has {direction.rank} dimensions; steer along one of them")
    bench = Bench(model, direction.hook, batch, measure, where, changed, taps)
    drawn = [type(direction).random(direction, generator_for(seed, 31, index), spread) for index in range(randoms)]
    rows: list[dict[str, Any]] = []
    for operation, strength in [*((how, float("nan")) for how in operations), *(("steer", dose) for dose in strengths)]:
        null = np.array([bench.effect(_hook(other, operation, strength)).mean() for other in drawn])
        for own in (direction, *([] if control is None else [control])):
            each = bench.effect(_hook(own, operation, strength))
            low, high = group_bootstrap(each, bench.groups, 1000, seed)
            row = {"model": name, "direction": own.name, "hook": own.hook, "operation": operation, "strength": strength}
            row |= {"effect": each.mean(), "low": low, "high": high, **beside_null(null, float(each.mean()))}
            rows.append(row | {"accuracy": accuracy if own is direction else float("nan"), "samples": len(each)})
    table = pd.DataFrame(rows)
    table["q_value"] = false_discovery_rates(table["p_value"].to_numpy())
    about = {"measure": getattr(measure, "__name__", "measure"), "randoms": randoms, "seed": seed, "spread": spread is not None}
    return CausalCheck(table[list(CausalCheck.columns)], about)


def join_causal_checks(parts: Sequence[CausalCheck]) -> CausalCheck:
    """Make one table of several checks, corrected as one. They must have been measured in the same way."""
    whole = CausalCheck.joined(parts)
    return replace(whole, table=whole.table.assign(q_value=false_discovery_rates(whole.table["p_value"].to_numpy())))


class Bench:
    """A batch with what a model does on it unchanged, and what has to be run again when a hook's activation is changed.

    Arguments: as of `causal_check`. hook: the activation that is changed.
    """

    def __init__(
        self,
        model: HookedModel,
        hook: str,
        batch: Batch,
        measure: Measure,
        where: Tensor | None,
        changed: Tensor | None,
        taps: TapRequest | None,
    ) -> None:
        self.at = changed
        self.model, self.batch, self.measure = model, batch, measure
        own: dict[str, Any] = {} if taps is None else {"taps": taps}
        begin, layer = entering(model, hook, batch.tokens)
        own |= layer
        self.run = partial(model.run_with_hooks, begin, **own)
        with torch.no_grad():
            self.plain = measure(model(batch.tokens), batch)
        self.counted = ~self.plain.isnan()
        if where is not None:
            self.counted &= where.to(self.counted.device)
        if not bool(self.counted.any()):
            raise ValueError("no position of this batch is measured: none has a target, or `where` leaves all of them out")
        spread = batch.groups[:, None].expand(self.counted.shape)
        self.groups: NDArray[np.int64] = spread[self.counted.cpu()].numpy()

    def effect(self, hook: HookFunction) -> NDArray[np.float64]:
        """The change of the measure by a hook, at each position that counts, [n]."""
        with torch.no_grad():
            changed = self.measure(self.run(fwd_hooks=[self._at_its_positions(hook)]), self.batch)
        found = (changed - self.plain)[self.counted].double().cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError("what is measured is not finite after the change; take a smaller strength")
        return found

    def _at_its_positions(self, hook: HookFunction) -> HookFunction:
        """The hook, at those positions alone whose activation is to be changed."""
        at, (name, change) = self.at, hook
        if at is None:
            return hook

        def partly(value: Tensor, hook: Any) -> Tensor:
            if value.shape[:2] != at.shape:
                raise ValueError(f"changed is {tuple(at.shape)}; {name} is {tuple(value.shape)}, not one vector a position")
            return torch.where(at.to(value.device).view(*at.shape, *(1,) * (value.ndim - 2)), change(value, hook), value)

        return name, partly


def entering(model: HookedModel, hook: str, tokens: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """What enters the block of a hook, before which nothing changes, with the keyword that begins there; else the tokens."""
    layer = layer_of(hook)
    if not layer or not isinstance(model, Model):  # other models begin with tokens
        return tokens, {}
    name = hook_name(layer, "hook_resid_pre")
    with torch.no_grad():
        entering: Tensor = model.run_with_cache(tokens, names_filter=[name], return_type=None)[1][name]
    return entering, {"start_at_layer": layer}


def _hook(subspace: Subspace, operation: str, strength: float) -> HookFunction:
    if operation == "steer":
        return subspace.steer(strength)
    change = {"ablate": subspace.remove, "reflect": subspace.reflect}[operation]
    return subspace.hook, lambda value, hook: change(value)
