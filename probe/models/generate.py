"""Generation token by token, with what each mixer keeps of the tokens before: a state, or keys and values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..mixers.base import Memory

if TYPE_CHECKING:
    from .model import Model


@torch.no_grad()
def stream_logits(model: Model, tokens: Tensor) -> Iterator[tuple[Tensor, list[Memory]]]:
    """The logits [B, vocabulary] after each token of [B, T], one step at a time, and the memories behind it."""
    memories: list[Memory] = [{} for _ in range(model.config.layers)]
    for position in range(tokens.shape[1]):
        yield model(tokens[:, position : position + 1], memories=memories)[:, -1], memories


@torch.no_grad()
def generate(
    model: Model, tokens: Tensor, count: int, *, temperature: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """`count` tokens more behind tokens [B, T]: [B, T + count].

    The prompt is read in one parallel pass and each token in one step; hooks fire in both. For the recurrent mixers memory and
    the time of a step do not grow with the length. temperature: 0 takes the likeliest token, else tokens are drawn from
    softmax(logits / temperature) with `generator`.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if model.config.inputs:
        raise ValueError("a model of real inputs generates no tokens; `stream_logits` steps through a sequence")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    memories: list[Memory] = [{} for _ in range(model.config.layers)]
    made, now = [tokens], tokens
    for _ in range(count):
        logits = model(now, memories=memories)[:, -1]
        if temperature == 0:
            now = logits.argmax(-1, keepdim=True)
        else:
            now = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        made.append(now)
    return torch.cat(made, dim=1)


def memory_bytes(memories: list[Memory]) -> int:
    """Bytes that generation holds between two tokens."""

    def count(value: object) -> int:
        if isinstance(value, Tensor):
            return value.numel() * value.element_size()
        return sum(map(count, value.values())) if isinstance(value, dict) else 0

    return sum(map(count, memories))
