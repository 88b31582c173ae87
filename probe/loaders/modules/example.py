"""What a module of one's own is run on to see its hooks, where it says so itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import StatescopeError


class NotHookableError(StatescopeError, TypeError):
    """A module that hooks cannot be put on; the text says what can."""


def example_of(module: nn.Module) -> Tensor:
    """Token ids for a model that says what embeds them."""
    vocabulary = vocabulary_of(module)
    if not vocabulary:
        raise NotHookableError(
            f"hooked({type(module).__name__}): give an example of what it takes, token ids [batch, position] or real numbers "
            "[batch, position, ...]"
        )
    return torch.arange(8).view(2, 4) % vocabulary


def vocabulary_of(module: nn.Module) -> int:
    """How many tokens a transformers model embeds; 0 for another module."""
    if not hasattr(module, "get_input_embeddings"):
        return 0
    embedding: Any = module.get_input_embeddings()  # type: ignore[operator]
    return int(getattr(embedding, "num_embeddings", 0))
