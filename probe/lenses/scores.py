"""How well a lens says what the model says, beside the best answer that reads nothing; and what it says of one prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ..hooks.names import layer_column, site_of
from ..hooks.positions import Positions
from ..statistics.groups import group_bootstrap, sources_of
from .fitters import divergence
from .lens import Lens, activations_of, batches_of
from .results.scores import LensReading, LensScores

if TYPE_CHECKING:
    from ..models.hooked import HookedModel


@torch.no_grad()
def score_lenses(
    model: HookedModel,
    lenses: Lens | Sequence[Lens],
    tokens: Tensor | Iterable[Tensor],
    *,
    positions: TapRequest = "all",
    groups: Tensor | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> LensScores:
    """Compare the answers of lenses with the model's on tokens [N, T], which should be others than they were fitted to.

    groups: [N], the source of each sequence, the unit of the intervals; each sequence its own when None.
    """
    lenses = [lenses] if isinstance(lenses, Lens) else list(lenses)
    batches = batches_of(tokens, batch_size)
    count = sum(map(len, batches))
    sources = sources_of(groups, count)
    hooks = list(dict.fromkeys(hook for lens in lenses for hook in lens.hooks))
    far: dict[tuple[int, str], list[Tensor]] = {}
    alike: dict[tuple[int, str], list[Tensor]] = {}
    mean, entropy, likeliest, seen = torch.zeros(()), [], [], 0
    for batch in batches:
        found, logits = activations_of(model, batch, hooks, positions)
        own = logits.double().log_softmax(-1)
        mean = mean + own.exp().sum((0, 1)).cpu()
        entropy.append(torch.special.entr(own.exp()).sum(-1).cpu())
        likeliest.append(own.argmax(-1).cpu())
        seen += own.shape[0] * own.shape[1]
        for number, lens in enumerate(lenses):
            for hook in lens.hooks:
                said = lens.logits(model, hook, found[hook])
                far.setdefault((number, hook), []).append(divergence(own, said.double()).cpu())
                alike.setdefault((number, hook), []).append((said.argmax(-1) == own.argmax(-1)).double().cpu())
    mean = mean / seen
    constant = float(torch.special.entr(mean).sum() - torch.cat(entropy).mean())
    agreed = float((torch.cat(likeliest) == mean.argmax()).double().mean())
    rows = []
    for (number, hook), parts in far.items():
        each = torch.cat(parts)
        low, high = group_bootstrap(each.mean(1).numpy(), sources.numpy(), 1000, seed)
        where = (lenses[number].kind, hook, layer_column(hook), site_of(hook))
        rows.append((*where, float(each.mean()), low, high, float(torch.cat(alike[number, hook]).mean()), constant, agreed))
    return LensScores(pd.DataFrame(rows, columns=list(LensScores.columns)), {"sequences": count, "answers": seen})


@torch.no_grad()
def read_with_lens(
    model: HookedModel,
    lens: Lens,
    prompt: Any,
    *,
    positions: TapRequest = "all",
    show: Callable[[Sequence[int]], list[str]] | None = None,
) -> LensReading:
    """What a lens says at positions of one prompt, text or tokens [1, T], beside the model's own answer.

    show: token ids as texts; when None the tokenizer's words, or ids where the model has none.

    Raises ValueError for more than one sequence.
    """
    tokens, _ = model.as_tokens(prompt)
    if tokens.ndim != 2 or len(tokens) != 1:
        raise ValueError(f"a reading is of one prompt [1, T], got {tuple(tokens.shape)}; score_lenses takes many")
    found, logits = activations_of(model, tokens, lens.hooks, positions)
    own = logits[0].double().log_softmax(-1)
    at = Positions.of(positions, tokens.shape[1]).of_batch
    texts = show or (lambda ids: [word_of(model, token) for token in ids])
    words = texts(tokens[0].tolist())
    said = {hook: lens.logits(model, hook, found[hook])[0].double().log_softmax(-1) for hook in lens.hooks} | {"model": own}
    rows = []
    for hook, answer in said.items():
        probability, token = answer.exp().max(-1)
        entropy = torch.special.entr(answer.exp()).sum(-1)
        away = divergence(own, answer)
        next_tokens = texts(token.tolist())
        for number, position in enumerate(at):
            next_token = next_tokens[number]
            values = (float(probability[number]), float(entropy[number]), float(away[number]))
            rows.append((lens.kind, hook, position, words[position], next_token, *values))
    return LensReading(pd.DataFrame(rows, columns=list(LensReading.columns)), {"tokens": tokens.shape[1]})


def word_of(model: HookedModel, token: int) -> str:
    """A token in words, or its id where the model has no tokenizer."""
    return str(token) if model.tokenizer is None else model.to_str_tokens(torch.tensor([token]))[0]
