"""How much of an activation, and of what the model does with it, a dictionary keeps: beside random and principal directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from ...kernels.recurrence import Edit
from ..models.hooked import HookedModel
from ..statistics.groups import group_bootstrap, sources_of
from .dictionary import Dictionary, DictionaryError, as_rows, from_rows
from .results.scores import DictionaryScores

Rows = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def next_token_losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """The mean next-token cross-entropy of each sequence in nats, [B], of logits [B, T, vocabulary]."""
    each = functional.cross_entropy(logits[:, :-1].double().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return each.view(len(tokens), -1).mean(1)


@torch.no_grad()
def score_dictionaries(
    model: HookedModel,
    dictionaries: Dictionary | Mapping[str, Dictionary],
    tokens: Tensor | Iterable[Tensor],
    *,
    groups: Tensor | None = None,
    loss: Loss = next_token_losses,
    batch_size: int = 16,
    seed: int = 0,
) -> DictionaryScores:
    """Score dictionaries on tokens [N, T], which should be others than they were trained on.

    A state is spliced by read-out edits: each token reads the reconstruction of its state, and the recurrence goes on from the
    true one. groups: [N], the unit of the intervals. loss: from the model's output and tokens to one number a sequence, [B].

    Raises DictionaryError for hooks that the model has no activation of, and for a dictionary of another width.
    """
    named = {"dictionary": dictionaries} if isinstance(dictionaries, Dictionary) else dict(dictionaries)
    batches = [part for batch in ([tokens] if isinstance(tokens, Tensor) else tokens) for part in batch.split(batch_size)]
    count = sum(map(len, batches))
    sources = sources_of(groups, count).numpy()
    rows = []
    for name, dictionary in named.items():
        target = dictionary.target or dictionary.hook
        for hook in (dictionary.hook, target):
            if hook not in model.hook_dict:
                raise DictionaryError(f"{name} is of {hook or 'no hook'}, which this model does not have")
        reads = _gathered(model, batches, dictionary.hook, len(dictionary.encoder))
        gives = reads if target == dictionary.hook else _gathered(model, batches, target, len(dictionary.decoder_bias))
        width = gives.shape[-1]
        mean = gives.double().mean(0)
        features = torch.cat([(dictionary.encode(part) != 0).double() for part in reads.split(4096)])
        active = float(features.sum(1).mean())
        own = torch.cat([loss(model(batch), batch).cpu() for batch in batches])
        at_mean = _losses(model, batches, target, width, _constant(mean), loss)
        spliced = _losses(model, batches, target, width, None if dictionary.is_transcoder else dictionary, loss, dictionary)
        made = torch.cat([dictionary(part).double() for part in reads.split(4096)])
        dead = float((features.sum(0) == 0).double().mean())
        found = {name: (False, dictionary.features, active, dead, made, spliced)}
        for control, project in _controls(gives.double(), dictionary.features, max(1, round(active)), seed).items():
            projected = torch.cat([project(part.double()) for part in gives.split(4096)])
            control_loss = _losses(model, batches, target, width, project, loss)
            kept = float(min(max(1, round(active)), width))
            found[f"{control}, beside {name}"] = (True, dictionary.features, kept, float("nan"), projected, control_loss)
        spread = (gives.double() - mean).square().sum()
        for own_name, (control_row, size, used, silent, output, costs) in found.items():
            explained = 1 - float((gives.double() - output).square().sum() / spread)
            lost, worth = (at_mean - costs).double(), (at_mean - own).double()
            some = float(worth.sum()) > 0
            share = float(lost.sum() / worth.sum()) if some else float("nan")
            low, high = group_bootstrap(lost.numpy(), sources, 1000, seed, worth.numpy()) if some else (float("nan"),) * 2
            measured = (explained, float(costs.mean()), float(own.mean()), float(at_mean.mean()), share, low, high)
            rows.append((own_name, control_row, target, size, used, silent, *measured))
    table = pd.DataFrame(rows, columns=list(DictionaryScores.columns))
    return DictionaryScores(table, {"sequences": count, "seed": seed})


def activations(model: HookedModel, tokens: Tensor, hook: str) -> Tensor:
    """The activation of a hook at every position, with positions second; states after every token."""
    point = model.points[hook]
    _, cache = model.run_with_cache(tokens, names_filter=hook, taps=model.taps_for([hook], "all"), return_type=None)
    if point.position_axis is None:
        raise DictionaryError(f"{hook} has no position axis: a dictionary reads an activation at a position")
    return cache[hook].movedim(point.position_axis, 1)


def run_with_replacement(model: HookedModel, tokens: Tensor, hook: str, replace: Callable[[Tensor], Tensor]) -> Any:
    """The model's output with `replace` of an activation in its place; of a state, in the place of what each token reads."""
    if model.points[hook].access == "edit":
        states = replace(activations(model, tokens, hook))
        edits = [Edit(position, "set", states[:, position], verb="readout") for position in range(tokens.shape[1])]
        return model.run_with_edits(tokens, {hook: edits})
    return model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda value, hook: replace(value))])


def _gathered(model: HookedModel, batches: Iterable[Tensor], hook: str, width: int) -> Tensor:
    """Every sample of a hook, [S, width]."""
    return torch.cat([as_rows(activations(model, batch, hook), width).reshape(-1, width) for batch in batches])


def _losses(
    model: HookedModel,
    batches: Iterable[Tensor],
    hook: str,
    width: int,
    rows: Rows | None,
    loss: Loss,
    transcoder: Dictionary | None = None,
) -> Tensor:
    """The loss of each sequence with an activation replaced by what `rows` makes of it, or else the transcoder of its input."""
    found = []
    for batch in batches:
        if rows is None:
            assert transcoder is not None
            out = model.run_with_hooks(batch, fwd_hooks=list(transcoder.splice_transcoder()))
        else:
            out = run_with_replacement(model, batch, hook, _replacing(rows, width))
        found.append(loss(out, batch).cpu())
    return torch.cat(found)


def _constant(mean: Tensor) -> Rows:
    return lambda x: mean.to(x).expand_as(x)


def _replacing(rows: Rows, width: int) -> Callable[[Tensor], Tensor]:
    return lambda value: from_rows(rows(as_rows(value, width)), value)


def _controls(samples: Tensor, features: int, used: int, seed: int) -> Mapping[str, Rows]:
    """Reconstructions of rows by `used` directions each: random ones, and the principal axes of the samples [S, D]."""
    return dict(_each_control(samples, features, used, seed))


def _each_control(samples: Tensor, features: int, used: int, seed: int) -> Iterator[tuple[str, Rows]]:
    mean, width = samples.mean(0), samples.shape[1]
    used = min(used, width)
    drawn = torch.randn(features, width, generator=torch.Generator().manual_seed(seed), dtype=samples.dtype)
    drawn = (drawn / drawn.norm(dim=1, keepdim=True)).to(samples)
    axes = torch.linalg.svd(samples - mean, full_matrices=False)[2][:used]

    def of_random(x: Tensor) -> Tensor:
        centred = x.to(mean) - mean
        flat = centred.reshape(-1, width)
        chosen = drawn[(flat @ drawn.T).abs().topk(min(used, features), dim=1).indices]  # [S, used, D]
        fitted = torch.linalg.lstsq(chosen.mT, flat[..., None]).solution
        return (chosen.mT @ fitted)[..., 0].reshape(x.shape) + mean

    def of_axes(x: Tensor) -> Tensor:
        return (x.to(mean) - mean) @ axes.T @ axes + mean

    yield "random directions", of_random
    yield "principal axes", of_axes
