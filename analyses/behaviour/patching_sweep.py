"""Where what tells two runs apart is carried: activations of one are put into the other, place by place, beside random changes.

With a corrupted run as the target and the clean one of the same tokens as the source it is causal tracing (Meng et al. 2022,
arXiv:2202.05262). Attribution patching (Nanda 2023) has all places of an activation to first order from one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Edit
from ...probe.hooks.names import layer_column, site_of
from ...probe.models.hooked import HookedModel
from ...probe.statistics.corrections import false_discovery_rates
from ...probe.statistics.groups import group_bootstrap, sources_of
from ...probe.statistics.nulls import beside_null
from ...probe.subspaces.subspace import HookFunction
from ...probe.tasks.base import generator_for
from .causal_check import entering
from .results.patching_sweep import EVERY_HEAD, PatchingSweep

Metric = Callable[[Tensor], Tensor]
Method = Literal["patch", "attribute"]


def patching_sweep(
    model: HookedModel,
    target: Tensor,
    source: Tensor,
    metric: Metric,
    *,
    hooks: Sequence[str] = ("blocks.*.hook_resid_pre",),
    positions: Sequence[int] | None = None,
    method: Method = "patch",
    by_head: bool = False,
    corrupt: Sequence[HookFunction] = (),
    groups: Tensor | None = None,
    randoms: int = 50,
    name: str = "model",
    seed: int = 0,
) -> PatchingSweep:
    """Put activations of source runs into target runs, one place at a time, and measure the output.

    target, source: tokens [N, T], a pair a row. metric: from logits [N, T, vocabulary] to [N], such as `last_logit_difference`.
    hooks: names, or names with wildcards, of activations with one vector a position, and of states: a state is put in place after
        its token, and the recurrence goes on from it.
    positions: which are patched, one at a time; all when None.
    method: "patch" runs the model for each place; "attribute" takes (source - target) . d metric / d activation, of
        all places of a hook from one backward pass.
    by_head: patch each head by itself, of activations that have an axis of heads.
    corrupt: hook functions that act in the target runs alone, such as noise on the embedding of some tokens.
    groups: the source of each pair, [N]; its own when None.
    randoms: in as many further runs of each place its activation is moved as far, in one random direction: the null. The
        p-values are at least 1 / (1 + randoms), so that a table of many places needs many to find anything.

    Raises ValueError for pairs of other shapes, for complex activations, where the metric of source and target is the same up to
    rounding, and UnknownNameError for a name that matches no hook.
    """
    if target.shape != source.shape or target.ndim < 2:
        raise ValueError(f"target is {tuple(target.shape)} and source {tuple(source.shape)}; a sweep needs pairs [N, T] each")
    length = model.length_of(target)
    places = list(range(length)) if positions is None else [_inside(position, length) for position in positions]
    stateful = any(model.has_state(layer) for layer in range(model.layers))
    names = model.matching_hooks(list(hooks), taps=[0] if stateful else None)
    runs = _Runs(model, target, source, metric, list(corrupt))
    sources = sources_of(groups, len(target)).numpy()
    rows: list[dict[str, Any]] = []
    for hook in names:
        activation = _Activation(runs, hook, places, by_head, method)
        for position in places:
            for head, own, random in activation.effects(position, randoms, seed):
                low, high = group_bootstrap(own, sources, 1000, seed)
                row = {"model": name, "hook": hook, "layer": layer_column(hook)}
                row |= {"site": site_of(hook), "position": position, "head": head, "method": method}
                row |= {"effect": own.mean(), "low": low, "high": high, "recovered": own.mean() / runs.gap}
                rows.append(row | beside_null(random, float(own.mean())) | {"samples": len(target)})
    table = pd.DataFrame(rows)
    table["q_value"] = false_discovery_rates(table["p_value"].to_numpy(), dependent=True)
    about = {"target": runs.target_metric, "source": runs.source_metric, "randoms": randoms, "seed": seed}
    return PatchingSweep(table[list(PatchingSweep.columns)], about)


def _inside(position: int, length: int) -> int:
    if not -length <= position < length:
        raise IndexError(f"position {position} is outside sequences of {length} tokens")
    return position % length


class _Runs:
    """Target and source runs as they are."""

    def __init__(self, model: HookedModel, target: Tensor, source: Tensor, metric: Metric, corrupt: list[Any]) -> None:
        self.model, self.target, self.source, self.metric, self.corrupt = model, target, source, metric, corrupt
        with torch.no_grad():
            self.plain = self.measured(model.run_with_hooks(target, fwd_hooks=corrupt))
            held = self.measured(model(source))
        self.target_metric, self.source_metric = float(self.plain.mean()), float(held.mean())
        self.gap = self.source_metric - self.target_metric
        size = float(self.plain.abs().mean() + held.abs().mean())
        if not abs(self.gap) > 10 * torch.finfo(self.plain.dtype).eps * size:
            raise ValueError("the metric of the source is that of the target: there is nothing to find; take other pairs")

    def measured(self, logits: Tensor) -> Tensor:
        """The metric of each pair, [N]."""
        found = self.metric(logits)
        if found.shape != (len(self.target),):
            raise ValueError(f"the metric gives {tuple(found.shape)}, not one number for each of {len(self.target)} pairs")
        return found


class _Activation:
    """An activation in the target runs, and how far it is from that of the source runs at each place.

    A run of the target and one of the source show it at all places, and one backward pass gives its gradient at all of them.
    """

    def __init__(self, runs: _Runs, hook: str, places: list[int], by_head: bool, method: Method) -> None:
        point = runs.model.points[hook]
        if point.position_axis != 1:
            raise ValueError(f"{hook} has no vector a position that could be patched; its axes are {point.axes}")
        self.by_head = by_head and "head" in point.axis_names
        if self.by_head and point.axis_names[2] != "head":
            raise ValueError(f"{hook} has its heads elsewhere than behind the positions: {point.axis_names}")
        self.runs, self.hook, self.of_state = runs, hook, point.at_taps
        self.slots = {position: slot for slot, position in enumerate(sorted(set(places)))}
        self.changes = self._values(runs.source, []) - self._values(runs.target, runs.corrupt)
        self.begin, self.start = (runs.target, dict[str, Any]()) if runs.corrupt else entering(runs.model, hook, runs.target)
        self.gradients = self._gradients() if method == "attribute" else None

    def effects(self, position: int, randoms: int, seed: int) -> list[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """(head, change of the metric of each pair [N], mean changes by random moves [randoms]) of each patch at a place."""
        slot = self.slots[position]
        change = self.changes[:, slot]
        measure = partial(self._moved, position) if self.gradients is None else partial(_product, self.gradients[:, slot])
        found = []
        for head in range(change.shape[1]) if self.by_head else [EVERY_HEAD]:
            own = change if head == EVERY_HEAD else _alone(change, head)
            drawn = [_random(own, generator_for(seed, 51, index)) for index in range(randoms)]
            null = np.array([float(measure(move).mean()) for move in drawn])
            found.append((head, measure(own).double().cpu().numpy(), null))
        return found

    @torch.no_grad()
    def _values(self, tokens: Tensor, others: list[Any]) -> Tensor:
        """The activation at all places, [N, P, ...]."""
        places, seen = list(self.slots), dict[str, Tensor]()

        def look(value: Tensor, hook: Any) -> None:
            seen["value"] = value if self.of_state else value[:, places]

        taps: dict[str, Any] = {"taps": places} if self.of_state else {}
        self.runs.model.run_with_hooks(tokens, fwd_hooks=[*others, (self.hook, look)], **taps)
        if seen["value"].is_complex():
            raise ValueError(
                f"{self.hook} is complex, and random moves of its length are not those of a real one; patch another hook"
            )
        return seen["value"]

    @torch.no_grad()
    def _moved(self, position: int, change: Tensor) -> Tensor:
        """The change of the metric where the activation is moved at one place, of each pair [N]."""
        place = 0 if self.of_state else position

        def move(value: Tensor, hook: Any) -> Tensor:
            changed = value.clone()
            changed[:, place] += change
            return changed

        taps: dict[str, Any] = {"taps": [position]} if self.of_state else {}
        return self._measured([(self.hook, move)], **taps) - self.runs.plain

    def _gradients(self) -> Tensor:
        """d metric / d activation of each pair at all places, [N, P, ...], in the target run: by what is added there."""
        zeros = torch.zeros_like(self.changes).requires_grad_()

        def enter(value: Tensor, hook: Any) -> Tensor:
            return value.index_add(1, torch.tensor(list(self.slots), device=value.device), zeros)

        with torch.enable_grad():
            if self.of_state:
                edits = [Edit(position, "add", zeros[:, slot]) for position, slot in self.slots.items()]
                found = self._measured([], edits={self.hook: edits})
            else:
                found = self._measured([(self.hook, enter)])
            [gradients] = torch.autograd.grad(found.sum(), [zeros], allow_unused=True, materialize_grads=True)
        return gradients

    def _measured(self, hooks: list[Any], **run: Any) -> Tensor:
        """The metric of the target runs with further hook functions, which begin where the activation's block does."""
        runs = self.runs
        return runs.measured(runs.model.run_with_hooks(self.begin, fwd_hooks=[*runs.corrupt, *hooks], **self.start, **run))


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    """Moves as far as those of each pair, all in one random direction of what is moved.

    One direction for each pair would average out over pairs, and make the null too easy to beat.
    """
    drawn = torch.randn(like.shape[1:], generator=generator, dtype=torch.float64).to(like) * (like != 0).any(0)
    lengths = like.flatten(1).norm(dim=1) / drawn.norm().clamp(min=1e-300)
    moves: Tensor = drawn * lengths.view(-1, *(1,) * (like.ndim - 1))
    return moves


def _product(gradient: Tensor, change: Tensor) -> Tensor:
    return (gradient * change).flatten(1).sum(1)


def _alone(change: Tensor, head: int) -> Tensor:
    """The change of one head, and none of the others."""
    found = torch.zeros_like(change)
    found[:, head] = change[:, head]
    return found
