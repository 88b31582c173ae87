"""How a disturbance of the state fades, measured, beside what the Lyapunov exponents of the transitions predict.

A state is disturbed once, after one token, along a random direction, and the model is run on. Its distance from the undisturbed
state after n more tokens is |A_n ... A_1 E| for a linear recurrence. With the finite-time exponents l_1 >= l_2 .. of these very
tokens (see `lasting_directions`) it falls as e^{n l_1} in the end, and faster at first, while other directions fade too. The
exponent that is measured is the slope of the logarithm of the distance over the second half of the tokens; beside it stands that
of the direction that lasts longest over the same half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Edit, Tap
from ...probe.hooks.names import hook_name
from ...probe.models.hooked import HookedModel
from ...probe.tasks.base import generator_for
from ..models import Models, length_of, named_models, transitions_of
from ..spectra.lasting_directions import directions_of
from .results.measured_horizon import FADED, MeasuredHorizon

SIZE = 1e4  # of the disturbance, beside the state, to whose rounding it fades: the recurrence is linear, whatever the size


def measured_horizon(models: Models, tokens: Tensor, *, position: int = 0, seed: int = 0) -> MeasuredHorizon:
    """Disturb the state of every linear layer after one token, each layer by itself, and follow it.

    models: a model, ours or a loaded one, or several by name; it is run in the precision that it has. tokens: [B, T].
    position: of the token after which the state is disturbed; at least 8 follow it.

    Raises ValueError for a model without linear transitions, and for fewer tokens.
    """
    length = length_of(tokens) - position - 1
    if position < 0 or length < 8:
        raise ValueError(f"position={position} leaves {length} of {tokens.shape[1]} tokens; at least 8 must follow")
    tables = []
    for name, model in named_models(models).items():
        for layer, transition in transitions_of(model, tokens):
            logs = _followed(model, tokens, layer, position, seed)
            along = transition.each(lambda part: part.movedim(1, 2)[:, :, position + 1 :])
            whole, second = (exponent.mean(0).numpy() for exponent in _largest(along, length // 2))
            tables.append(_table(logs, whole, second, model=name, layer=layer))
    about = {"position": position, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return MeasuredHorizon(pd.concat(tables, ignore_index=True)[list(MeasuredHorizon.columns)], about)


def _largest(along: Transition, half: int) -> tuple[Tensor, Tensor]:
    """The largest finite-time exponent of transitions [B, H, T] over all tokens, and that of the direction which has it over the
    tokens behind the first `half`, each [B, H].
    """
    length = along.shape[-3]
    logs, _, v = directions_of(along, axis=2)
    direction, passed = v[..., :1], torch.zeros_like(logs[..., 0])
    for t in range(half):
        direction = along[:, :, t].matmat(direction)
        size = torch.linalg.vector_norm(direction, dim=(-2, -1))
        direction, passed = direction / size.clamp(min=1e-300)[..., None, None], passed + size.log()
    whole = logs[..., 0]
    rest = (whole - passed) / (length - half)
    return whole / length, torch.where(whole.isfinite(), rest, -torch.inf)


def _followed(model: HookedModel, tokens: Tensor, layer: int, position: int, seed: int) -> Tensor:
    """The mean over sequences of log |difference| beside the disturbance, [H, n]; -inf where it has faded into rounding."""
    place = hook_name(layer, "attn.hook_state")
    run: dict[str, Any] = {"names_filter": place, "return_type": None, "stop_at_layer": layer + 1}
    run["taps"] = Tap(tuple(range(position, tokens.shape[1])))
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, **run)
        before = cache[place]
        change = torch.randn(before[:, 0].shape, generator=generator_for(seed), dtype=torch.float64).to(before.real)
        change = change * SIZE * before[:, 0].abs().mean().clamp(min=1e-6)
        change = change.to(before.dtype)
        edits = {place: [Edit(position, "add", change)]}
        _, cache = model.run_with_cache(tokens, edits=edits, **run)
    gap = (cache[place] - before).to(torch.promote_types(before.dtype, torch.float64)).flatten(3)
    sizes = gap.norm(dim=-1) / change.flatten(2).norm(dim=-1)[:, None].to(torch.float64)
    logs: Tensor = sizes.log().mean(0).T.cpu()
    return logs


def _table(logs: Tensor, whole: Any, second: Any, **where: Any) -> pd.DataFrame:
    rows = []
    for head, own in enumerate(logs.numpy()):
        count = np.arange(len(own))
        late = (count >= len(own) // 2) & (own > np.log(FADED))
        slope = np.polyfit(count[late], own[late], 1)[0] if late.sum() >= len(own) // 2 else np.nan
        predicted = np.exp(count * whole[head])
        rows += [(head, n, float(np.exp(own[n])), float(predicted[n]), slope, second[head]) for n in count]
    columns = ["head", "tokens", "distance", "predicted", "measured_exponent", "exponent"]
    return pd.DataFrame(rows, columns=columns).assign(**where)
