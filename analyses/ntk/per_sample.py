"""Per-sample gradients of one module from what went in and the gradient of what came out.

    Linear          dW_i = sum_t g_it a_it^T,  db_i = sum_t g_it
    Embedding       dE_i[v] = sum_{t: token_it = v} g_it
    RMSNorm         dw_i = sum_t g_it * normalised_it
    convolution     dw_i[c, j] = sum_t g_it[c] a_i,t-j[c]
    PerHead         dv_i = sum_t g_it   (its output is an expanded copy, one a sample)
    LowRank         db_i = sum_t g_it   (its two matrices are Linear)

A rule holds where the first axis is that of samples, and a module used twice in a pass has the sum over its uses. Nothing here is
trusted unseen: `empirical_ntk` checks what the rules give, and differentiates each sample alone where they do not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...probe.mixers.base import LowRank, PerHead, RMSNorm, ShortConvolution

Gradients = dict[str, Tensor]  # parameter name in the module -> [N, ...]


def _over_tokens(x: Tensor) -> Tensor:
    """[N, ..., D] as [N, tokens, D]; one token where there is no axis between."""
    return x.reshape(len(x), -1, x.shape[-1])


def linear(module: nn.Linear, inputs: Tensor, gradient: Tensor) -> Gradients:
    a, g = _over_tokens(inputs), _over_tokens(gradient)
    found = {"weight": g.mT @ a}
    return found if module.bias is None else found | {"bias": g.sum(1)}


def embedding(module: nn.Embedding, tokens: Tensor, gradient: Tensor) -> Gradients:
    count, vocabulary = len(tokens), module.num_embeddings
    rows = torch.arange(count, device=tokens.device)[:, None] * vocabulary + tokens.reshape(count, -1)
    empty = gradient.new_zeros(count * vocabulary, gradient.shape[-1])
    filled = empty.index_add(0, rows.flatten(), gradient.reshape(-1, gradient.shape[-1]))
    return {"weight": filled.unflatten(0, (count, vocabulary))}


def rms_norm(module: RMSNorm, inputs: Tensor, gradient: Tensor) -> Gradients:
    normalised = inputs * (inputs.square().mean(-1, keepdim=True) + module.eps).rsqrt()
    return {"weight": _over_tokens(gradient * normalised).sum(1)}


def short_convolution(module: ShortConvolution, inputs: Tensor, gradient: Tensor) -> Gradients:
    lags, length = module.weight.shape[1], inputs.shape[1]
    padded = functional.pad(inputs, (0, 0, lags - 1, 0))
    return {"weight": torch.stack([(padded[:, lag : lag + length] * gradient).sum(1) for lag in range(lags)], dim=-1)}


def per_head(module: PerHead, batch: int, gradient: Tensor) -> Gradients:
    return {"value": _over_tokens(gradient).sum(1)}


def low_rank(module: LowRank, inputs: Tensor, gradient: Tensor) -> Gradients:
    return {"bias": _over_tokens(gradient).sum(1)}


RULES: dict[type[nn.Module], Callable[[Any, Any, Tensor], Gradients]] = {
    nn.Linear: linear,
    nn.Embedding: embedding,
    RMSNorm: rms_norm,
    ShortConvolution: short_convolution,
    PerHead: per_head,
    LowRank: low_rank,
}


def rule_for(module: nn.Module) -> Callable[[Any, Any, Tensor], Gradients] | None:
    """The rule of a module's type or of the nearest type it derives from; None for a module without one."""
    return next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)


def contract(module: nn.Module, inputs: Any, gradient: Tensor, directions: Gradients) -> Tensor:
    """The slope of each sample along a direction in parameters, [N]: sum over parameters of <dW_i, direction>.

    directions: of the module's own parameters, by their names there. Of a linear layer and an embedding the gradients are never
    formed: sum_t g_it^T (D a_it) takes no more memory than the layer's output.
    """
    total = gradient.new_zeros(len(gradient))
    left = dict(directions)
    if isinstance(module, nn.Linear) and "weight" in left:
        total = total + _over_tokens(gradient * (inputs @ left.pop("weight").mT)).sum((1, 2))
    elif isinstance(module, nn.Embedding) and "weight" in left:
        total = total + _over_tokens(gradient * left.pop("weight")[inputs]).sum((1, 2))
    if left:
        rule = rule_for(module)
        assert rule is not None
        rows = rule(module, inputs, gradient)
        for name, direction in left.items():
            total = total + (rows[name].reshape(len(total), -1) @ direction.reshape(-1))
    return total
