"""Per-sample gradients of one module from what went in and the gradient of what came out.

    Linear          dW_i = sum_t g_it a_it^T,  db_i = sum_t g_it
    Embedding       dE_i[v] = sum_{t: token_it = v} g_it
    RMSNorm         dw_i = sum_t g_it * normalised_it
    convolution     dw_i[c, j] = sum_t g_it[c] a_i,t-j[c]
    PerHead         dv_i = sum_t g_it   (its output is an expanded copy, one a sample)

A module used twice in a pass has the sum over its uses. A parameter of any other module is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...probe.mixers.base import PerHead, RMSNorm, ShortConvolution

Gradients = dict[str, Tensor]  # parameter name in the module -> [N, ...]


def linear(module: nn.Linear, inputs: Tensor, gradient: Tensor) -> Gradients:
    a, g = inputs.flatten(1, -2), gradient.flatten(1, -2)
    found = {"weight": g.mT @ a}
    return found if module.bias is None else found | {"bias": g.sum(1)}


def embedding(module: nn.Embedding, tokens: Tensor, gradient: Tensor) -> Gradients:
    count, vocabulary = len(tokens), module.num_embeddings
    rows = torch.arange(count, device=tokens.device)[:, None] * vocabulary + tokens
    empty = gradient.new_zeros(count * vocabulary, gradient.shape[-1])
    return {"weight": empty.index_add(0, rows.flatten(), gradient.flatten(0, 1)).unflatten(0, (count, vocabulary))}


def rms_norm(module: RMSNorm, inputs: Tensor, gradient: Tensor) -> Gradients:
    normalised = inputs * (inputs.square().mean(-1, keepdim=True) + module.eps).rsqrt()
    return {"weight": (gradient * normalised).flatten(1, -2).sum(1)}


def short_convolution(module: ShortConvolution, inputs: Tensor, gradient: Tensor) -> Gradients:
    lags, length = module.weight.shape[1], inputs.shape[1]
    padded = functional.pad(inputs, (0, 0, lags - 1, 0))
    return {"weight": torch.stack([(padded[:, lag : lag + length] * gradient).sum(1) for lag in range(lags)], dim=-1)}


def per_head(module: PerHead, batch: int, gradient: Tensor) -> Gradients:
    return {"value": gradient.flatten(1, -2).sum(1)}


RULES: dict[type[nn.Module], Callable[[Any, Any, Tensor], Gradients]] = {
    nn.Linear: linear,
    nn.Embedding: embedding,
    RMSNorm: rms_norm,
    ShortConvolution: short_convolution,
    PerHead: per_head,
}


def rule_for(module: nn.Module) -> Callable[[Any, Any, Tensor], Gradients] | None:
    """The rule of a module's type or of the nearest type it derives from; None for a module without one."""
    return next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
