"""A loaded model beside the library's own run of it: do logits and states agree?"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from triton import knobs

from ..hooks.names import hook_name
from .adapters.transformers.softmax_attention import NAME
from .foreign import ForeignModel
from .torch_modules import fused_on_cpu


@dataclass(frozen=True)
class Agreement:
    """Relative differences in the Euclidean norm. states: by layer; None where the library's cache shows no state."""

    logits: float
    states: dict[int, float | None]


@contextmanager
def torch_paths(foreign: Any) -> Iterator[None]:
    """transformers' own functions in torch, and its own attention in the place of ours.

    Where flash-linear-attention is installed transformers takes its functions, which need a GPU.
    """
    namespace = sys.modules[type(foreign).__module__]
    functions = {name: value for name, value in vars(namespace).items() if inspect.isfunction(value)}
    wrapped = {name: value for name, value in functions.items() if hasattr(value, "__wrapped__")}
    for name, value in wrapped.items():
        setattr(namespace, name, inspect.unwrap(value))
    hooked = getattr(foreign.config, "_attn_implementation", None) == NAME
    if hooked:
        foreign.set_attn_implementation("eager")
    try:
        yield
    finally:
        if hooked:
            foreign.set_attn_implementation(NAME)
        for name, value in wrapped.items():
            setattr(namespace, name, value)


@torch.no_grad()
def foreign_logits(foreign: Any, tokens: Tensor, **how: Any) -> Tensor:
    """The library's own logits [B, T, vocabulary]."""
    with torch_paths(foreign):
        return foreign(input_ids=tokens, use_cache=False, **how).logits


@torch.no_grad()
def foreign_states(model: ForeignModel, tokens: Tensor) -> dict[int, Tensor | None]:
    """What each layer's own recurrence holds after the tokens, in our layout; None where its cache does not show it."""
    foreign: Any = model.foreign
    with torch_paths(foreign):
        out = foreign(input_ids=tokens, use_cache=True)
    stateful = [layer for layer in range(model.layers) if model.has_state(layer)]
    return {layer: model.mixer(layer).adapter.cached_state(model.mixer(layer), out, layer) for layer in stateful}


def can_run(foreign: Any) -> bool:
    """Whether the library's own run is possible: flash-linear-attention's kernels need a GPU, or Triton's interpreter."""
    return not fused_on_cpu(foreign) or bool(knobs.runtime.interpret)


def check_agreement(model: ForeignModel, tokens: Tensor) -> Agreement:
    """Compare logits at every position and states after the last. Raises ValueError where the library cannot run."""
    if not can_run(model.foreign):
        raise ValueError(f"{type(model.foreign).__name__} runs on a GPU only: there is nothing here to compare with")
    truth = foreign_logits(model.foreign, tokens)
    states = foreign_states(model, tokens)
    names = [hook_name(layer, "attn.hook_state") for layer in states]
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens, names_filter=names, taps="last" if names else None)
    errors = {
        layer: None if state is None else _difference(cache[hook_name(layer, "attn.hook_state")][:, 0], state)
        for layer, state in states.items()
    }
    return Agreement(_difference(logits, truth), errors)


def _difference(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-300))
