"""What a small model of the package computes inside, for claims that compare it with a paper's equation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...probe.mixers import MixerConfig
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
    names = [f"blocks.{layer}.attn.hook_{hook}" for hook in hooks]
    taps = list(range(tokens.shape[1])) if {"state", "write"} & set(hooks) else None
    _, cache = model.run_with_cache(tokens, names_filter=names, taps=taps)
    return {hook: cache[name] for hook, name in zip(hooks, names, strict=True)}
