"""The rule by which each head of a model writes its state, on average over tokens; or in words, why it has none.

What a mixer shows decides: a state with an axis of keys is written along them, with the rate beta of a delta rule (times |k|^2,
where keys are no unit vectors; of RWKV-7 it is -a.b / a.a, what is taken away along a), and the decay ln d of a head or of each
channel. Rates and angles are averaged over tokens as they are, decays by their logarithms.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...probe.hooks.names import STATE_PLACE, hook_name, resolve_layer
from ...probe.models.hooked import HookedModel
from ..models import Models, length_of, named_models, on_cpu
from .write_rule import WriteRule

TOKENS = ("k", "beta", "log_decay", "phase", "decay", "a", "b")


def write_rules(
    models: Models, tokens: Tensor, *, layer: int | None = None, head: int | None = None
) -> dict[str, WriteRule | str]:
    """The rule of each head, "name, layer 0, head 1"; of a layer whose state is not written along keys, the reason: a sentence.

    models: a model, ours or a loaded one, or several by name.
    tokens: [B, T], over which rates and decays are averaged.
    layer, head: of these alone; None means all.

    `recall_capacity(write_rules(model, tokens))` measures what each holds of random pairs. The note of a rule says how far the
    keys of these tokens overlap beside random ones, and what of the mixer the rule leaves out. Raises IndexError for a layer or
    head that is not there.
    """
    length_of(tokens)
    rules: dict[str, WriteRule | str] = {}
    for name, model in named_models(models).items():
        for own in range(model.layers) if layer is None else [resolve_layer(layer, model.layers)]:
            where, found = f"{name}, layer {own}", _rules_of_layer(model, tokens, own)
            if isinstance(found, str):
                rules[where] = found
                continue
            heads = range(len(found)) if head is None else [resolve_layer(head, len(found), what="head")]
            rules |= {f"{where}, head {each}": found[each] for each in heads}
    return rules


def _rules_of_layer(model: HookedModel, tokens: Tensor, layer: int) -> list[WriteRule | str] | str:
    points = {
        point.name: point.axis_names for point in model.layer_points(layer) if hook_name(layer, point.name) in model.hook_dict
    }
    if STATE_PLACE not in points:
        return model.mixer(layer).absences.get(STATE_PLACE, "it has no state") + ": no pair disturbs another"
    state, k = points[STATE_PLACE][2:], points.get("attn.hook_k", [""])
    if k[-1] not in state:
        return f"its state [{', '.join(state)}] is not written along keys, so that no pair is read by its own"
    names = {name: hook_name(layer, f"attn.hook_{name}") for name in TOKENS if f"attn.hook_{name}" in points}
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=list(names.values()), return_type=None)
    shown = {name: on_cpu(cache[place]).double() for name, place in names.items()}
    sizes = model.mixer(layer).axis_sizes
    heads, normalised = sizes["head"], sizes.get("state_value", 0) > sizes.get("value", 0)
    keys = _keys_by_head(shown["k"], heads, several="householder" in k)
    rates, logs = _rates(shown, keys), _log_decays(shown, heads)
    left_out = ", and a normaliser that divides what is read is left out" if normalised else ""
    return [
        _rule(float(rate), log, keys.shape[3], "a" in shown, f"{_overlap(own)}{left_out}")
        for rate, log, own in zip(rates, logs, keys.movedim(2, 0), strict=True)
    ]


def _rule(rate: float, log: Tensor, keys: int, erases_first: bool, note: str) -> WriteRule | str:
    if not 0 <= rate <= 2:
        return f"it erases {rate:.3g} times what is stored along a key, on average, outside [0, 2]: what is stored can grow"
    decay = log.item() if log.ndim == 0 else tuple(log.tolist())
    return WriteRule(rate, decay, keys if rate else 1, erases_first and rate > 0, note)


def _keys_by_head(k: Tensor, heads: int, *, several: bool) -> Tensor:
    """Keys as [B, T, H, n, K]: those that heads share are repeated."""
    by_head = k if k.ndim > 3 else k[:, :, None]
    by_head = by_head if several and by_head.ndim == 5 else by_head[..., None, :]
    return by_head.repeat_interleave(heads // by_head.shape[2], dim=2)


def _rates(shown: dict[str, Tensor], keys: Tensor) -> Tensor:
    """What a token takes away along its key, [H]; 0 of additive rules."""
    if "beta" in shown:
        beta = shown["beta"] if shown["beta"].ndim == 4 else shown["beta"][..., None]
        return (beta * keys.square().sum(-1)).mean((0, 1, 3))
    if "a" in shown:
        a, b = shown["a"], shown["b"]
        return -((a * b).sum(-1) / a.square().sum(-1).clamp(min=torch.finfo(a.dtype).tiny)).mean((0, 1))
    return keys.new_zeros(keys.shape[2])


def _log_decays(shown: dict[str, Tensor], heads: int) -> Tensor:
    """Ln d of each head, [H] or [H, K]; complex where the decay turns."""
    if "decay" in shown:
        return shown["decay"].log().mean((0, 1))
    if "log_decay" not in shown:
        return torch.zeros(heads, dtype=torch.float64)
    logs = shown["log_decay"].mean((0, 1))
    return torch.complex(logs, shown["phase"].mean((0, 1))) if "phase" in shown else logs


def _overlap(keys: Tensor) -> str:
    """How far the keys [B, T, n, K] of different tokens of a sequence overlap, beside random ones."""
    size, units = keys.shape[-1], normalize(keys.flatten(1, 2), dim=-1)
    count = units.shape[1]
    if count < 2:
        return "one key alone has none to overlap with"
    cosines = (units @ units.mT).square()
    others = (cosines.sum((-2, -1)) - cosines.diagonal(dim1=-2, dim2=-1).sum(-1)) / (count * (count - 1))
    return f"its own keys overlap by {float(others.mean()):.2g} (mean squared cosine) where random ones do by {1 / size:.2g}"
