"""Where what tells two runs apart is carried: activations of one are put into the other, place by place, beside random changes.

With a corrupted run as the target and the clean one of the same tokens as the source it is causal tracing (Meng et al. 2022,
arXiv:2202.05262). Attribution patching (Nanda 2023) has all places to first order from one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.hooks.names import layer_of, site_of
from ...probe.models.hooked import HookedModel
from ...probe.statistics.corrections import false_discovery_rates
from ...probe.statistics.groups import group_bootstrap
from ...probe.statistics.nulls import beside_null
from ...probe.subspaces.subspace import HookFunction
from ...probe.tasks.base import generator_for
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
    method: "patch" runs the model for each place; "attribute" takes (source - target) . d metric / d activation of all at once.
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
    bench = _Bench(model, target, source, metric, list(corrupt), method)
    sources = np.arange(len(target)) if groups is None else groups.numpy()
    rows: list[dict[str, Any]] = []
    for hook in names:
        for position in places:
            for head, own, random in bench.effects(hook, position, by_head, randoms, seed):
                low, high = group_bootstrap(own, sources, 1000, seed)
                row = {"model": name, "hook": hook, "layer": -1 if (layer := layer_of(hook)) is None else layer}
                row |= {"site": site_of(hook), "position": position, "head": head, "method": method}
                row |= {"effect": own.mean(), "low": low, "high": high, "recovered": own.mean() / bench.gap}
                rows.append(row | beside_null(random, float(own.mean())) | {"samples": len(target)})
    table = pd.DataFrame(rows)
    table["q_value"] = false_discovery_rates(table["p_value"].to_numpy(), dependent=True)
    about = {"target": bench.target_metric, "source": bench.source_metric, "randoms": randoms, "seed": seed}
    return PatchingSweep(table[list(PatchingSweep.columns)], about)


def _inside(position: int, length: int) -> int:
    if not -length <= position < length:
        raise IndexError(f"position {position} is outside sequences of {length} tokens")
    return position % length


class _Bench:
    """Target and source runs as they are, and how a place of the target is changed."""

    def __init__(
        self, model: HookedModel, target: Tensor, source: Tensor, metric: Metric, corrupt: list[Any], method: Method
    ) -> None:
        self.model, self.target, self.metric, self.corrupt, self.method = model, target, metric, corrupt, method
        self.source = source
        with torch.no_grad():
            self.plain = self._measured(model.run_with_hooks(target, fwd_hooks=corrupt))
            held = self._measured(model(source))
        self.target_metric, self.source_metric = float(self.plain.mean()), float(held.mean())
        self.gap = self.source_metric - self.target_metric
        size = float(self.plain.abs().mean() + held.abs().mean())
        if not abs(self.gap) > 10 * torch.finfo(self.plain.dtype).eps * size:
            raise ValueError("the metric of the source is that of the target: there is nothing to find; take other pairs")

    def _measured(self, logits: Tensor) -> Tensor:
        found = self.metric(logits)
        if found.shape != (len(self.target),):
            raise ValueError(f"the metric gives {tuple(found.shape)}, not one number for each of {len(self.target)} pairs")
        return found

    def effects(
        self, hook: str, position: int, by_head: bool, randoms: int, seed: int
    ) -> list[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """(head, change of the metric of each pair [N], mean changes by random moves [randoms]) of each patch at a place."""
        axes = self.model.points[hook].axis_names
        if "head" in axes and by_head and axes[2] != "head":
            raise ValueError(f"{hook} has its heads elsewhere than behind the positions: {axes}")
        change = self._value(hook, position, self.source, []) - self._value(hook, position, self.target, self.corrupt)
        heads = range(change.shape[1]) if by_head and "head" in axes else [EVERY_HEAD]
        gradient = self._gradient(hook, position) if self.method == "attribute" else None
        found = []
        for head in heads:
            own = change if head == EVERY_HEAD else _alone(change, head)
            measure = partial(self._moved, hook, position) if gradient is None else partial(_product, gradient)
            drawn = [self._random(own, generator_for(seed, 51, index)) for index in range(randoms)]
            null = np.array([float(measure(move).mean()) for move in drawn])
            found.append((head, measure(own).double().cpu().numpy(), null))
        return found

    def _random(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Moves as far as those of each pair, all in one random direction of what is moved.

        One direction for each pair would average out over pairs, and make the null too easy to beat.
        """
        drawn = torch.randn(like.shape[1:], generator=generator, dtype=torch.float64).to(like) * (like != 0).any(0)
        lengths = like.flatten(1).norm(dim=1) / drawn.norm().clamp(min=1e-300)
        moves: Tensor = drawn * lengths.view(-1, *(1,) * (like.ndim - 1))
        return moves

    def _run(self, hook: str, position: int) -> tuple[dict[str, Any], int]:
        """What a run needs so that the hook shows a position, and where it shows it."""
        point = self.model.points[hook]
        if point.position_axis != 1:
            raise ValueError(f"{hook} has no vector a position that could be patched; its axes are {point.axes}")
        return ({"taps": [position]}, 0) if "tap" in point.axis_names else ({}, position)

    @torch.no_grad()
    def _value(self, hook: str, position: int, tokens: Tensor, others: list[Any]) -> Tensor:
        run, place = self._run(hook, position)
        seen: dict[str, Tensor] = {}

        def look(value: Tensor, hook: Any) -> Tensor:
            seen["value"] = value[:, place].clone()
            return value

        self.model.run_with_hooks(tokens, fwd_hooks=[*others, (hook, look)], **run)
        if seen["value"].is_complex():
            raise ValueError(f"{hook} is complex, and random moves of its length are not those of a real one; patch another hook")
        return seen["value"]

    @torch.no_grad()
    def _moved(self, hook: str, position: int, change: Tensor) -> Tensor:
        """The change of the metric where the activation is moved, of each pair [N]."""
        run, place = self._run(hook, position)

        def move(value: Tensor, hook: Any) -> Tensor:
            changed = value.clone()
            changed[:, place] += change
            return changed

        return self._measured(self.model.run_with_hooks(self.target, fwd_hooks=[*self.corrupt, (hook, move)], **run)) - self.plain

    def _gradient(self, hook: str, position: int) -> Tensor:
        """d metric / d activation of each pair, in the target run."""
        run, place = self._run(hook, position)
        seen: dict[str, Tensor] = {}

        def enter(value: Tensor, hook: Any) -> Tensor:
            moved = value.clone()
            seen["zero"] = torch.zeros_like(value[:, place]).requires_grad_()
            moved[:, place] += seen["zero"]
            return moved

        with torch.enable_grad():
            found = self._measured(self.model.run_with_hooks(self.target, fwd_hooks=[*self.corrupt, (hook, enter)], **run))
            [gradient] = torch.autograd.grad(found.sum(), [seen["zero"]], allow_unused=True)
        return torch.zeros_like(seen["zero"]) if gradient is None else gradient


def _product(gradient: Tensor, change: Tensor) -> Tensor:
    return (gradient * change).flatten(1).sum(1)


def _alone(change: Tensor, head: int) -> Tensor:
    """The change of one head, and none of the others."""
    found = torch.zeros_like(change)
    found[:, head] = change[:, head]
    return found
