"""What one change of a run does, on one sequence: to the next-token distribution, and to the states, beside random changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Edit, Operation, Verb
from ...probe.hooks.names import STATE_PLACE, hook_name
from ...probe.subspaces.direction import Direction
from .results.intervention import CHANGED, PLAIN, RANDOM, Intervention, StateShift

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

SHOWN = 12
MOST_TAPS = 64


@dataclass(frozen=True)
class Change:
    """What is done to a run: hook functions that return replacements, and edits of states by hook."""

    hooks: Sequence[tuple[str, Callable[..., Any]]] = ()
    edits: Mapping[str, Sequence[Edit]] = field(default_factory=dict)


def intervene(
    model: HookedModel,
    tokens: Tensor,
    change: Change,
    random: Sequence[Change],
    *,
    name: str,
    position: int,
    show: Callable[[Sequence[int]], list[str]] = lambda ids: list(map(str, ids)),
) -> tuple[Intervention, StateShift | None]:
    """Run one sequence [T] unchanged, changed, and with random changes.

    name: of the change, in words. position: the token behind which the next one is read. show: token ids as texts.

    Raises IndexError for a position past the end. The shift of the states is None for a model without any.
    """
    if not 0 <= position < len(tokens):
        raise IndexError(f"position {position} is outside the {len(tokens)} tokens")
    plain, before = _run(model, tokens, Change(), position)
    changed, after = _run(model, tokens, change, position)
    others = [_run(model, tokens, one, position) for one in random]
    ids = _moved(plain, changed)
    texts = show(ids)
    rows = [pd.DataFrame({"run": PLAIN, "token": texts, **_certain(plain[ids])})]
    rows.append(pd.DataFrame({"run": CHANGED, "token": texts, **_certain(changed[ids])}))
    if others:
        rows.append(pd.DataFrame({"run": RANDOM, "token": texts, **_spread(torch.stack([one[ids] for one, _ in others]))}))
    about = {
        "change": name,
        "position": position,
        "divergence": _divergence(changed, plain),
        "random_divergences": [_divergence(one, plain) for one, _ in others],
    }
    found = Intervention(pd.concat(rows, ignore_index=True).rename(columns={"value": "probability"}), about)
    return found, _shift(before, after, [states for _, states in others])


def _shift(
    before: dict[int, tuple[Sequence[int], Tensor]],
    after: dict[int, tuple[Sequence[int], Tensor]],
    others: Sequence[dict[int, tuple[Sequence[int], Tensor]]],
) -> StateShift | None:
    rows = []
    for layer, (positions, states) in before.items():
        where = {"layer": layer, "position": list(positions)}
        rows.append(pd.DataFrame({"run": CHANGED, **where, **_certain(_share(after[layer][1], states))}))
        if others:
            shares = torch.stack([_share(one[layer][1], states) for one in others])
            rows.append(pd.DataFrame({"run": RANDOM, **where, **_spread(shares)}))
    return StateShift(pd.concat(rows, ignore_index=True).rename(columns={"value": "share"})) if rows else None


def adding(direction: Direction, strength: float, positions: Sequence[int]) -> Change:
    """Move an activation along a direction after some tokens, by strength times its scale.

    Raises ValueError for a direction in a state, which is changed by an edit.
    """
    return _at(direction, positions, lambda value: direction.add(value, strength))


def removing(direction: Direction, positions: Sequence[int]) -> Change:
    """Take an activation's component along a direction out after some tokens; raises as `adding`."""
    return _at(direction, positions, direction.remove)


def reflecting(direction: Direction, positions: Sequence[int]) -> Change:
    """Turn an activation's component along a direction around after some tokens; raises as `adding`."""
    return _at(direction, positions, direction.reflect)


def _at(direction: Direction, positions: Sequence[int], change: Callable[[Tensor], Tensor]) -> Change:
    if direction.hook.endswith(STATE_PLACE):
        raise ValueError(f"{direction.name} lies in a state; use an edit of the state")
    at = torch.tensor(positions, dtype=torch.long)

    def changed(value: Tensor, hook: Any) -> Tensor:
        return value.index_copy(1, at, change(value.index_select(1, at)))

    return Change(hooks=[(direction.hook, changed)])


def random_ones(direction: Direction, seeds: Sequence[int]) -> Iterator[Direction]:
    """Random directions of the same space and scale."""
    for seed in seeds:
        yield Direction.random(direction, torch.Generator().manual_seed(seed))


def keys_of(model: HookedModel, tokens: Tensor, layer: int, head: int) -> Tensor:
    """The keys [T, K] of a head over one sequence [T]. Raises ValueError where the layer has none, or several a token."""
    hook = hook_name(layer, "attn.hook_k")
    if hook not in model.hook_dict:
        raise ValueError(f"layer {layer} shows no keys (its mixer: {model.mixer(layer).title})")
    with torch.no_grad():
        keys = model.run_with_cache(tokens[None], names_filter=[hook])[1][hook][0]
    if keys.ndim != 3 or keys.is_complex():
        raise ValueError(f"layer {layer} has several keys a token, or complex ones, of which none can be chosen")
    own: Tensor = keys[:, head * keys.shape[1] // model.mixer(layer).axis_sizes["head"]]
    return own


def random_keys(like: Tensor, seeds: Sequence[int]) -> list[Tensor]:
    """Keys in directions that are drawn at random."""
    return [torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def editing(layer: int, head: int, position: int, operation: Operation, value: Any, verb: Verb = "propagate") -> Change:
    """Change the state of a head after one token; operation, value and verb as an `Edit` takes them."""
    edit = Edit(position, operation, torch.as_tensor(value), (head,), verb)
    return Change(edits={hook_name(layer, STATE_PLACE): [edit]})


def contrast(model: HookedModel, present: Sequence[int], absent: Sequence[int], hook: str, name: str) -> Direction:
    """The direction from the mean activation over the tokens `absent` to that over `present`, and how far apart they are."""
    features = []
    for tokens in (present, absent):
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([list(tokens)]), names_filter=[hook])
        features.append(cache[hook][0].flatten(1))
    labels = torch.cat([torch.ones(len(features[0])), torch.zeros(len(features[1]))])
    return Direction.difference_of_means(torch.cat(features), labels, hook=hook, name=name)


def read_along(model: HookedModel, tokens: Tensor, direction: Direction) -> list[float]:
    """The component of an activation, or of a state, along a direction after each token of a sequence [T], in units of its scale.

    Raises ValueError for a direction of which a token has several components.
    """
    taps = model.taps_for([direction.hook], "all")
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=[direction.hook], taps=taps)
    along = direction.project(cache[direction.hook][0]) / direction.scale
    if along.ndim != 1:
        raise ValueError(f"{direction.name}: a token has {tuple(along.shape[1:])} components along it, and here it needs one")
    found: list[float] = along.double().tolist()
    return found


def _run(
    model: HookedModel, tokens: Tensor, change: Change, position: int
) -> tuple[Tensor, dict[int, tuple[Sequence[int], Tensor]]]:
    """The next-token probabilities [vocabulary] after a position, and by layer the tapped positions and states there."""
    stateful = [layer for layer in range(model.layers) if model.has_state(layer)]
    every = math.ceil(len(tokens) / MOST_TAPS)
    taps = sorted({*range(every - 1, len(tokens), every), len(tokens) - 1})
    run: dict[str, Any] = {"edits": change.edits} if change.edits else {}
    with torch.no_grad(), model.hooks(fwd_hooks=list(change.hooks)):
        if not stateful:
            return model(tokens[None], **run)[0, position].double().softmax(-1), {}
        names = [hook_name(layer, STATE_PLACE) for layer in stateful]
        logits, cache = model.run_with_cache(tokens[None], names_filter=names, taps=taps, **run)
    states: dict[int, tuple[Sequence[int], Tensor]] = {
        layer: (cache.tap_positions, cache[name][0]) for layer, name in zip(stateful, names, strict=True)
    }
    return logits[0, position].double().softmax(-1), states


def _moved(plain: Tensor, changed: Tensor) -> list[int]:
    """The tokens whose probability moved most, the likeliest first."""
    moved = (changed - plain).abs().topk(min(SHOWN, len(plain))).indices
    return moved[plain[moved].argsort(descending=True, stable=True)].tolist()


def _certain(values: Tensor) -> dict[str, np.ndarray]:
    return dict.fromkeys(("value", "low", "high"), values.numpy())


def _spread(values: Tensor) -> dict[str, np.ndarray]:
    return {"value": values.mean(0).numpy(), "low": values.amin(0).numpy(), "high": values.amax(0).numpy()}


def _divergence(changed: Tensor, plain: Tensor) -> float:
    """KL(changed | plain) in nats."""
    ratio = changed.clamp(min=1e-300).log() - plain.clamp(min=1e-300).log()
    return max(0.0, float((changed * ratio).sum()))


def _share(after: Tensor, before: Tensor) -> Tensor:
    """[T] of states [T, H, ...]."""
    size = before.flatten(1).abs().double().norm(dim=1)
    share: Tensor = (after - before).flatten(1).abs().double().norm(dim=1) / size.clamp(min=1e-12)
    return share
