"""A model whose own parameters stay as they are, while something beside them is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within it no parameter of the model takes a gradient; behind it those do that did, and its training mode is as it was."""
    held, was_training = [(value, value.requires_grad) for value in model.parameters()], model.training
    try:
        for value, _ in held:
            value.requires_grad_(False)
        yield
    finally:
        for value, wanted in held:
            value.requires_grad_(wanted)
        model.train(was_training)
