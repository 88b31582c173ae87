"""What a small model of the package computes inside, for claims that compare it with a paper's equation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...probe.hooks.names import hook_name
from ...probe.mixers import Attention, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model

VOCABULARY = 9


def small_model(mixer: MixerConfig, seed: int, *, layers: int = 1, width: int = 16) -> Model:
    """Build an untrained model in float64."""
    return Model(ModelConfig(vocabulary=VOCABULARY, width=width, layers=layers, mixer=mixer, seed=seed)).double().eval()


def drawn_tokens(seed: int, length: int, batch: int = 2) -> Tensor:
    """Draw tokens [batch, length] from a generator with this seed."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def observed(model: Model, tokens: Tensor, *hooks: str, layer: int = 0) -> dict[str, Any]:
    """Hooks of a layer by their short names: "k" is blocks.{layer}.attn.hook_k. States are those after every token."""
    names = [hook_name(layer, f"attn.hook_{hook}") for hook in hooks]
    taps = list(range(tokens.shape[1])) if {"state", "write"} & set(hooks) else None
    _, cache = model.run_with_cache(tokens, names_filter=names, taps=taps)
    return {hook: cache[name] for hook, name in zip(hooks, names, strict=True)}


@torch.no_grad()
def logits_after_step(model: Model, tokens: Tensor, hook: str, position: int, step: Tensor) -> Tensor:
    """The last logits [B, vocabulary] with a step [D], or one for each sequence [B, D], added to an activation at one token."""

    def add(value: Tensor, hook: Any) -> Tensor:
        changed = value.clone()
        changed[:, position] += step.to(value)
        return changed

    logits: Tensor = model.run_with_hooks(tokens, fwd_hooks=[(hook, add)])
    return logits[:, -1]


@torch.no_grad()
def attention_reads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What the package's causal softmax attention reads at each token, [B, T, H, V], where its hooks hold these: q and k
    [B, T, H, K], v [B, T, H, V], in float64, with no positions.
    """
    batch, length, heads, size = q.shape
    mixer = Attention(heads=heads, key_size=size, value_size=v.shape[-1])
    model = Model(ModelConfig(vocabulary=VOCABULARY, width=8, layers=1, mixer=mixer)).double().eval()
    held, seen = {"q": q, "k": k, "v": v}, list[Tensor]()

    def put(value: Tensor, hook: Any) -> Tensor:
        return held[hook.name.rsplit("_", 1)[1]]

    def keep(value: Tensor, hook: Any) -> None:
        seen.append(value)

    put_in = [(f"blocks.0.attn.hook_{name}", put) for name in held]
    model.run_with_hooks(torch.zeros(batch, length, dtype=torch.long), fwd_hooks=[*put_in, ("blocks.0.attn.hook_z", keep)])
    return seen[0]
