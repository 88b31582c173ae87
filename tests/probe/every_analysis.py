"""Every analysis of transitions and states, by name, and what each must give for a model whatever its mixers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from statescope.geometry import state_geometry
from statescope.probe.models.hooked import HookedModel
from statescope.probe.results.result import Result
from statescope.spectra import memory_horizon, spectrum_by_label, stability, transition_measures, window_spectrum

OF_TRANSITIONS: dict[str, Callable[[HookedModel, Tensor], Result]] = {
    "measures": transition_measures,
    "by token": lambda model, tokens: spectrum_by_label(model, tokens, {"token": tokens}),
    "windows": lambda model, tokens: window_spectrum(model, tokens, 3),
    "horizon": memory_horizon,
    "stability": lambda model, tokens: stability(model, tokens, transitions=4),
    "geometry": state_geometry,
}


def shown(model: HookedModel, tokens: Tensor, place: str, **run: Any) -> dict[int, Any]:
    """What a hook shows in each layer that has it."""
    names = {layer: f"blocks.{layer}.attn.{place}" for layer in range(model.layers)}
    return {
        layer: model.run_with_cache(tokens, names_filter=name, return_type=None, **run)[1][name]
        for layer, name in names.items()
        if name in model.hook_dict
    }


def check_analyses(model: HookedModel, tokens: Tensor) -> None:
    """The layers of each result are those that show what it needs; numbers are held by the analyses' own tests."""
    transitions, states = shown(model, tokens, "hook_transition"), shown(model, tokens, "hook_state", taps="last")
    for kind, analyse in OF_TRANSITIONS.items():
        result = analyse(model, tokens)
        assert set(result.table["layer"]) == set(states if kind == "geometry" else transitions), kind
        assert result.table["model"].eq("model").all() and result.summary() and result.specification().panels
