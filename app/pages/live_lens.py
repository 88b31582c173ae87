"""What each layer says of the next token, token by token of any text."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ...probe.lenses.fitters import LogitLens
from ...probe.lenses.results.scores import LensReading
from ...probe.lenses.scores import read_with_lens
from ...probe.statistics.scores import short_hook
from ..components.choose import choose, choose_position
from ..components.figure import show
from ..components.reading import LiveReading
from ..components.text import literal
from ..components.token_strip import token_strip
from .live_page import LivePage

IMPORT = "from statescope.lenses import LogitLens, read_with_lens"
COLOURS = {
    "nats from the model": "divergence",
    "its probability": "probability",
    "its entropy": "entropy",
}


class LiveLens(LivePage, kind="live_lens"):
    """The logit lens of every layer, along the tokens."""

    title = "Lens"
    icon = ":material/search:"
    order = 25
    intro = (
        "What would the model say if its remaining layers did nothing? The logit lens reads the residual stream behind each "
        "layer as the unembedding would. Where a layer is near the model's own answer, the next token is decided there."
    )

    def draw(self, reading: LiveReading) -> None:
        live, tokens = reading.live, reading.tensor[None]

        def make() -> LensReading:
            lens = LogitLens().fit(live.model, tokens)
            return read_with_lens(live.model, lens, tokens, show=live.spelling.show)

        try:
            found = reading.compute("lens", make)
        except (ValueError, RuntimeError, MemoryError) as error:
            st.info(f"This model has nothing to show here: {literal(error)}", icon=":material/info:")
            return
        boxes = st.columns(4)
        hook = choose("behind", list(dict.fromkeys(found.table["hook"])), "lens", where=boxes[0], format_func=short_hook)
        colour = choose("colour by", list(COLOURS), "lens-colour", where=boxes[1])
        _walk(reading, found.table, str(hook), colour)
        call = "read_with_lens(model, LogitLens().fit(model, tokens), tokens)"
        show(reading.by(IMPORT, call), "lens", found, {}, words=False)


@st.fragment
def _walk(reading: LiveReading, table: pd.DataFrame, hook: str, colour: str) -> None:
    """The strip, and what every layer says after one token. A step runs this part of the page alone."""
    own = table[table["hook"] == hook].sort_values("position")
    last = len(own) - 1
    position = choose_position("next token after", last, "read", default=last)
    values = own[COLOURS[colour]].round(3).tolist()
    name = f"lens-{reading.name}"
    token_strip(reading.texts, values, position, label=colour, name=name, state="read", read=reading.read)
    here = table[table["position"] == position]
    for box, row in zip(st.columns(len(here)), here.itertuples(), strict=True):
        box.metric(short_hook(row.hook), literal(row.says), f"{row.probability:.0%}", delta_color="off", delta_arrow="off")
