"""What the tokens of any text look at, in two layers or heads side by side."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ...analyses.geometry.attention_map import EXACT, MOST_TOKENS, PATTERN, attention_map
from ...analyses.geometry.results.attention_map import AttentionMap
from ...analyses.spectra.attention_measures import attention_measures
from ...probe.hooks.names import hook_name
from ..components.choose import choose
from ..components.figure import show
from ..components.reading import LiveReading
from ..components.text import literal
from .live_page import LivePage

IMPORT = "from statescope.analyses.geometry.attention_map import attention_map"

MEASURES = "from statescope.analyses.spectra.attention_measures import attention_measures"


class LiveAttention(LivePage, kind="live_attention"):
    """Two heads: softmax beside linear, where the model has both."""

    title = "Attention"
    icon = ":material/visibility:"
    order = 30
    intro = (
        "What each token's read-out is made of. A softmax layer gives weights from 0 to 1. A linear layer has an exact effective "
        "attention too, whose weights may be negative: an additive part, and what the delta rule erases in between."
    )

    def draw(self, reading: LiveReading) -> None:
        model = reading.live.model
        shown = {
            layer: next((place for place in (EXACT, PATTERN) if hook_name(layer, place) in model.hook_dict), None)
            for layer in range(model.layers)
        }
        layers = [layer for layer, place in shown.items() if place is not None]
        if not layers:
            st.info("No layer of this model shows what its tokens look at.", icon=":material/info:")
            return
        other = next((layer for layer in layers if shown[layer] != shown[layers[0]]), layers[-1])
        sides = (("", "layer", "head", layers[0]), (" beside it", "beside", "beside_head", other))
        places, boxes = [], iter(st.columns(4))
        for side, key, head_key, first in sides:
            layer = choose(f"layer{side}", layers, key, where=next(boxes), index=layers.index(first))
            heads = list(range(model.mixer(layer).axis_sizes["head"]))
            same = key != "layer" and layer == layers[0]
            places.append((layer, choose(f"head{side}", heads, head_key, where=next(boxes), index=min(int(same), heads[-1]))))
        _draw(reading, list(dict.fromkeys(places)))
        if st.toggle("All layers and heads in numbers", key="attention-measures"):
            _measure(reading)


def _draw(reading: LiveReading, places: list[tuple[int, int]]) -> None:
    """The heads in one figure, so that those of one kind share a scale."""
    live, texts = reading.live, [f"{position}: {text}" for position, text in enumerate(reading.texts)]

    def make(layer: int, head: int) -> AttentionMap:
        return attention_map(live.model, reading.tensor, layer, head, name=live.name, texts=texts)

    try:
        found, *others = (reading.compute("attention", partial(make, *place), *place) for place in places)
    except (ValueError, IndexError, MemoryError, RuntimeError) as error:
        st.error(f"This attention cannot be shown: {literal(error)}")
        return
    for other in others:
        found = found.beside(other)
    calls = [f"attention_map(model, tokens[0], {layer}, {head}, name={live.name!r}, texts=texts)" for layer, head in places]
    call = calls[0] + "".join(f".beside({other})" for other in calls[1:])
    show(reading.by(IMPORT, call, [f"texts = {texts!r}"]), "attention", found, {})


def _measure(reading: LiveReading) -> None:
    """How widely, how far back and with how much erasure each head attends."""
    live = reading.live
    if len(reading.tokens) > MOST_TOKENS:
        st.info(f"{len(reading.tokens)} tokens are more than {MOST_TOKENS}; take a shorter text.", icon=":material/info:")
        return
    try:
        found = reading.compute("attention measures", lambda: attention_measures({live.name: live.model}, reading.tensor[None]))
    except (ValueError, MemoryError, RuntimeError) as error:
        st.error(f"This attention cannot be measured: {literal(error)}")
        return
    origin = reading.by(MEASURES, f"attention_measures({{{live.name!r}: model}}, tokens)")
    show(origin, "attention-measures", found, {})
