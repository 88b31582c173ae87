"""The tangent kernel of a model's state: how training can move what is kept after token t, and how it couples the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...kernels.arguments import check_finite
from ...probe.hooks.names import hook_name
from ..models import real_parts
from .empirical_ntk import tangent_kernel
from .jacobian import Parameters
from .jacobian import chosen as names_chosen
from .results.state import StateTangent

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


class StateReadout(nn.Module):
    """A model whose outputs are functionals of its state: a module for `empirical_ntk`.

    From tokens [N, T] to [N, P F]: of the state of a layer after each of P tokens the products with F directions. A complex state
    counts by its real and imaginary parts.
    """

    def __init__(self, model: HookedModel, layer: int, positions: Sequence[int], directions: Tensor) -> None:
        """Read a state.

        layer: whose state. positions: P tokens, after each of which it is read. directions: [F, numbers of the state].
        Raises ValueError for a layer without a state.
        """
        super().__init__()
        if not model.has_state(layer):
            raise ValueError(f"layer {layer} has no state (its mixer: {model.mixer(layer).kind})")
        self.model, self.layer, self.positions = model, layer, list(positions)
        self.register_buffer("directions", directions)

    def forward(self, tokens: Tensor) -> Tensor:
        directions = self.directions
        assert isinstance(directions, Tensor)
        states = states_after(self.model, tokens, self.layer, self.positions)
        if states.shape[-1] != directions.shape[-1]:
            raise ValueError(f"the state has {states.shape[-1]} numbers, the directions {directions.shape[-1]}")
        return (states @ directions.to(states.dtype).T).flatten(1)


def states_after(model: HookedModel, tokens: Tensor, layer: int, positions: Sequence[int]) -> Tensor:
    """The states [N, P, numbers] after these tokens, with their gradients."""
    kept: list[Tensor] = []

    def keep(state: Tensor, hook: object) -> None:
        kept.append(state)

    with model.hooks(fwd_hooks=[(hook_name(layer, "attn.hook_state"), keep)]):
        model(tokens, taps=list(positions))
    (state,) = kept
    return real_parts(state).flatten(2)


def state_tangent(
    model: HookedModel,
    tokens: Tensor,
    positions: Sequence[int],
    *,
    layers: Sequence[int] | None = None,
    directions: int = 4,
    seed: int = 0,
    parameters: Parameters = None,
) -> StateTangent:
    """The coupling of the states after some tokens through the parameters that make them.

    For a direction u in the state, K_ts(u) = <d (u . S_t) / d parameters, d (u . S_s) / d parameters>, the mean over samples and
    over `directions` random u of unit variance: an unbiased estimate of the trace over the state's numbers.

    tokens: [N, T]. positions: tokens, counted from 0. layers: with a state; left out, all of them. parameters: of the model, as
    for `tangent_kernel`. Raises ValueError for a model without states or fewer than one direction, and what `tangent_kernel`
    raises.
    """
    if directions < 1:
        raise ValueError(f"directions={directions} must be at least 1")
    chosen = [layer for layer in range(model.layers) if model.has_state(layer)] if layers is None else list(layers)
    if not chosen:
        raise ValueError("no layer of this model has a state")
    check_finite(**dict(model.named_parameters()))
    counted = {f"model.{name}" for name in names_chosen(model, parameters)}  # as the read-out that holds the model calls them
    generator, tables = torch.Generator().manual_seed(seed), []
    for layer in chosen:
        with torch.no_grad():
            size = states_after(model, tokens[:1], layer, positions[:1]).shape[-1]
        drawn = torch.randn(directions, size, generator=generator, dtype=torch.float64)
        read_out = StateReadout(model, layer, positions, drawn)
        full = tangent_kernel(read_out, tokens, output="full", parameters=lambda name: name in counted).values
        own = torch.einsum("itdisd->its", full.unflatten(3, (len(positions), -1)).unflatten(1, (len(positions), -1)))
        kernel = (own.mean(0) / directions).numpy()
        scale = np.sqrt(np.diag(kernel))
        tables.append(_table(layer, positions, kernel, kernel / np.outer(scale, scale)))
    return StateTangent(pd.concat(tables, ignore_index=True), {"samples": len(tokens), "directions": directions})


def _table(layer: int, positions: Sequence[int], kernel: np.ndarray, coupling: np.ndarray) -> pd.DataFrame:
    first, second = np.meshgrid(positions, positions, indexing="ij")
    columns = (np.full(first.size, layer), first.ravel(), second.ravel(), kernel.ravel(), coupling.ravel())
    return pd.DataFrame(dict(zip(StateTangent.columns, columns, strict=True)))
