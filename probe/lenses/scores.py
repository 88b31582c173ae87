"""How well a lens says what the model says, beside the best answer that reads nothing; and what it says of one prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ..hooks.names import layer_of, site_of
from ..hooks.positions import Positions
from ..results.figure import Figure, Heatmap, Line, Panel
from ..results.result import Result
from ..statistics.groups import group_bootstrap
from .fitters import divergence
from .lens import Lens, activations_of, batches_of

if TYPE_CHECKING:
    from ..models.hooked import HookedModel


@dataclass(frozen=True)
class LensScores(Result, kind="lens_scores"):
    """How far the answers of lenses are from the model's, hook by hook.

    The constant answer is the mean of the model's own probabilities on these tokens, which no answer that reads nothing beats.
    """

    title: ClassVar[str] = "What each layer says of the next token"
    columns: ClassVar[dict[str, str]] = {
        "lens": "kind of the lens",
        "hook": "activation that it reads",
        "layer": "block",
        "site": "last word of the hook's name",
        "divergence": "mean KL(model || lens) in nats",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "agreement": "share of positions whose likeliest token is the model's",
        "constant": "KL of the constant answer in nats",
        "constant_agreement": "agreement of the constant answer",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("lens", "site", "layer")

    def summary(self) -> str:
        lines = []
        for (lens, site), own in self.table.groupby(["lens", "site"], sort=False):
            first, last = own.iloc[0], own.iloc[-1]
            lines.append(
                f"{lens} lens of {site}: {first.divergence:.3g} nats from the model in layer {first.layer}, "
                f"{last.divergence:.3g} in layer {last.layer}; a constant is {first.constant:.3g} away"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        marks, agreements = [], []
        for (lens, site), own in self.table.groupby(["lens", "site"], sort=False):
            label = f"{lens}, {site}"
            x = own["layer"].to_numpy()
            low, high = own["low"].to_numpy(), own["high"].to_numpy()
            marks.append(Line(x, own["divergence"].to_numpy(), label, low, high, markers=True))
            agreements.append(Line(x, own["agreement"].to_numpy(), label, markers=True))
        constant = float(self.table["constant"].iloc[0]), "constant answer"
        agreed = float(self.table["constant_agreement"].iloc[0]), "constant answer"
        return Figure(
            self.title,
            [
                Panel(marks, "layer", "KL from the model in nats", level=constant),
                Panel(agreements, "layer", "same likeliest token", level=agreed, y_range=(0.0, 1.0)),
            ],
            alt=f"Divergence of each layer's answer from the model's. {self.summary()}",
        )


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
    sources = torch.arange(count) if groups is None else groups
    if len(sources) != count:
        raise ValueError(f"groups has {len(sources)} entries; there are {count} sequences")
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
        layer = layer_of(hook)
        where = (lenses[number].kind, hook, -1 if layer is None else layer, site_of(hook))
        rows.append((*where, float(each.mean()), low, high, float(torch.cat(alike[number, hook]).mean()), constant, agreed))
    return LensScores(pd.DataFrame(rows, columns=list(LensScores.columns)), {"sequences": count, "answers": seen})


@dataclass(frozen=True)
class LensReading(Result, kind="lens_reading"):
    """What a lens says at each position of one prompt, hook by hook."""

    title: ClassVar[str] = "What each layer says, token by token"
    columns: ClassVar[dict[str, str]] = {
        "lens": "kind of the lens",
        "hook": 'activation that it reads; the model\'s own answer is the hook "model"',
        "position": "token position",
        "token": "token there, in words where there is a tokenizer",
        "says": "likeliest next token",
        "probability": "its probability",
        "entropy": "of the answer, in nats",
        "divergence": "KL(model || lens) in nats",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("lens", "hook")

    def summary(self) -> str:
        last = self.table[self.table["position"] == self.table["position"].max()]
        return "\n".join(f"{row.hook}: {row.says!r} with probability {row.probability:.2f}" for row in last.itertuples())

    def specification(self) -> Figure:
        """The divergence of each hook at each position, and the probability of what it says."""
        hooks = list(dict.fromkeys(self.table["hook"]))
        positions = sorted(self.table["position"].unique())
        tokens = self.table.drop_duplicates("position").sort_values("position")["token"]
        columns = [f"{position} {token}" for position, token in zip(positions, tokens, strict=True)]
        panels = []
        for column, label in (("divergence", "KL from the model in nats"), ("probability", "probability of the likeliest")):
            grid = self.table.pivot(index="hook", columns="position", values=column).loc[hooks, positions]
            panels.append(Panel([Heatmap(grid.to_numpy(), hooks, columns, label)], "token", "activation", label))
        return Figure(self.title, panels, columns=1, alt=f"What each layer says. {self.summary()}")


@torch.no_grad()
def read_with_lens(model: HookedModel, lens: Lens, prompt: Any, *, positions: TapRequest = "all") -> LensReading:
    """What a lens says at positions of one prompt, text or tokens [1, T], beside the model's own answer.

    Raises ValueError for more than one sequence.
    """
    tokens, _ = model.as_tokens(prompt)
    if tokens.ndim != 2 or len(tokens) != 1:
        raise ValueError(f"a reading is of one prompt [1, T], got {tuple(tokens.shape)}; score_lenses takes many")
    found, logits = activations_of(model, tokens, lens.hooks, positions)
    own = logits[0].double().log_softmax(-1)
    at = Positions.of(positions, tokens.shape[1]).of_batch
    words = [word_of(model, token) for token in tokens[0].tolist()]
    said = {hook: lens.logits(model, hook, found[hook])[0].double().log_softmax(-1) for hook in lens.hooks} | {"model": own}
    rows = []
    for hook, answer in said.items():
        probability, token = answer.exp().max(-1)
        entropy = torch.special.entr(answer.exp()).sum(-1)
        away = divergence(own, answer)
        for number, position in enumerate(at):
            next_token = word_of(model, int(token[number]))
            values = (float(probability[number]), float(entropy[number]), float(away[number]))
            rows.append((lens.kind, hook, position, words[position], next_token, *values))
    return LensReading(pd.DataFrame(rows, columns=list(LensReading.columns)), {"tokens": tokens.shape[1]})


def word_of(model: HookedModel, token: int) -> str:
    """A token in words, or its id where the model has no tokenizer."""
    return str(token) if model.tokenizer is None else model.to_str_tokens(torch.tensor([token]))[0]
