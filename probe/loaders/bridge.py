"""transformer-lens's TransformerBridge: the model in it with our hooks, and exact states from a cache that it made."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer as Backend
from torch import nn
from transformer_lens import ActivationCache

from ...kernels.delta_rule import delta_rule
from ...kernels.effective_attention import effective_attention
from ...kernels.recurrence import TapRequest
from ..errors import StatescopeError
from ..hooks.cache import StateCache
from ..hooks.names import hook_name, layer_of, place_of
from ..models.text import Tokenizer
from .delta_rule import delta_tokens

GATES = "linear_attn.hook_log_decay"
INPUTS = ("q", "k", "v", "beta", "log_decay")


class ProcessedWeightsError(StatescopeError, ValueError):
    """A bridge whose weights are no longer those of the architecture, so that the model in it cannot be run by itself."""


def is_bridge(source: object) -> bool:
    """Tell whether this is a TransformerBridge."""
    return any(kind.__name__ == "TransformerBridge" for kind in type(source).__mro__)


def unbridged(bridge: Any) -> nn.Module:
    """The foreign model in a bridge without the bridge's components; it shares the weights.

    Raises ProcessedWeightsError where the bridge has changed them (compatibility mode folds norms into them).
    """
    wrapped = bridge.original_model
    clean: nn.Module = type(wrapped)(wrapped.config)
    held = {name.replace("._original_component", ""): tensor for name, tensor in wrapped.state_dict().items()}
    lacking = sorted(set(clean.state_dict()) - set(held))
    if lacking:
        raise ProcessedWeightsError(f"the bridge holds no {', '.join(lacking[:3])}; {PROCESSED}")
    clean.load_state_dict({name: held[name] for name in clean.state_dict()}, assign=True)
    clean.eval()
    tokens = torch.arange(4, device=next(clean.parameters()).device)[None]
    with torch.no_grad():
        own, theirs = clean(input_ids=tokens, use_cache=False).logits, bridge(tokens)
    if not torch.allclose(own, theirs, rtol=1e-3, atol=1e-3):
        raise ProcessedWeightsError(
            f"without the bridge the logits differ by {float((own - theirs).abs().max()):.1e}; {PROCESSED}"
        )
    return clean


def tokenizer_of(bridge: Any) -> Tokenizer | None:
    """The tokenizer of a bridge; None where it has none, or one that is not of the `tokenizers` library."""
    theirs: Any = getattr(bridge, "tokenizer", None)
    backend = getattr(theirs, "backend_tokenizer", None)
    return Tokenizer(backend, bos=theirs.bos_token, pad=theirs.pad_token) if isinstance(backend, Backend) else None


PROCESSED = "its weights were processed: boot it without enable_compatibility_mode, and load that"


def replay(cache: ActivationCache, *, taps: TapRequest | None = None, attention: bool = False) -> StateCache:
    """Exact states from a bridge's cache of gated delta rule layers, by our kernel from the queries, keys and gates in it.

    cache: of `bridge.run_with_cache(tokens, use_cache=False)`, with the hooks q, k, v, beta and log_decay of `linear_attn`.
    taps: the positions of `hook_state`. attention: `hook_effective_attention` too, T^2 numbers a head.

    Gives, for each such layer, `blocks.L.attn.` `hook_recurrence_out` [B, T, H, V], `hook_state` [B, taps, H, K, V] and
    `hook_effective_attention` [B, H, T, T]. transformer-lens's own reconstruction leaves out what the delta rule erases. Raises
    ValueError where the cache has no such layer.
    """
    layers = sorted({layer for name in cache if place_of(name) == GATES and (layer := layer_of(name)) is not None})
    if not layers:
        raise ValueError(
            f"this cache has no blocks.*.{GATES}: make it with run_with_cache(tokens, use_cache=False) of a "
            f"bridge of a gated delta rule model; it has {', '.join(list(cache)[:3])}"
        )
    shown: dict[str, Any] = {}
    positions: tuple[int, ...] = ()
    for layer in layers:
        q, k, v, beta, log_decay = (cache[hook_name(layer, f"linear_attn.hook_{name}")] for name in INPUTS)
        tokens = delta_tokens(q, k, v, beta, log_decay, normalise=True)
        out = delta_rule(**tokens, unit_keys=False, taps=taps)
        positions = out.tap_positions
        place = hook_name(layer, "attn.hook_")
        shown[f"{place}recurrence_out"] = out.output
        if out.states is not None:
            shown[f"{place}state"] = out.states
        if attention:
            shown[f"{place}effective_attention"] = effective_attention(**{name: x for name, x in tokens.items() if name != "v"})
    return StateCache(shown, cache.model, positions, states_from="replay")
