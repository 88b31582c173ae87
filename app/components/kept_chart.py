"""A plotly chart that keeps its camera and zoom while what it draws changes, and a strip of tokens that can be clicked.

Streamlit's own chart starts afresh whenever its figure changes. This one calls Plotly.react with the layout's uirevision, on
the plotly.js that comes with the plotly package; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

CHART = """
export default function(component) {
    const { data, parentElement } = component;
    let place = parentElement.querySelector(".chart");
    if (!place) {
        place = document.createElement("div");
        place.className = "chart";
        parentElement.appendChild(place);
    }
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", data.alt);
    const figure = JSON.parse(data.figure);
    // plotly.js keeps zoom by uirevision, but now and then loses a camera that was turned: hand it over.
    const scene = place._fullLayout && place._fullLayout.scene;
    if (scene && scene.uirevision === figure.layout.uirevision) {
        figure.layout.scene.camera = structuredClone(scene.camera);
    }
    window.Plotly.react(place, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
"""

STRIP = """
export default function(component) {
    const { data, parentElement, setStateValue } = component;
    let strip = parentElement.querySelector(".strip");
    if (!strip) {
        strip = document.createElement("div");
        strip.className = "strip";
        parentElement.appendChild(strip);
    }
    strip.replaceChildren();
    data.tokens.forEach((token, position) => {
        const cell = document.createElement("button");
        cell.textContent = token;
        cell.title = `${position}: ${data.label} ${data.values[position]}`;
        cell.setAttribute("aria-label", `token ${position}: ${token}, ${data.label} ${data.values[position]}`);
        cell.style.background = data.colors[position];
        cell.style.color = data.inks[position];
        if (position === data.position) {
            cell.className = "now";
            cell.setAttribute("aria-current", "true");
        }
        cell.onclick = () => setStateValue("position", position);
        strip.appendChild(cell);
        if (token === "\\\\n") strip.appendChild(document.createElement("br"));
    });
}
"""

STRIP_STYLE = """
.strip { font-family: monospace; font-size: 0.85rem; line-height: 1.5; }
.strip button { border: none; padding: 0 1px; margin: 0; font: inherit; cursor: pointer; min-width: 0.7em; white-space: pre; }
.strip button.now { outline: 2px solid #D55E00; outline-offset: 0; z-index: 1; position: relative; }
"""


@cache
def _components() -> tuple[Any, Any]:
    chart = st.components.v2.component("statescope_chart", js=get_plotlyjs() + CHART, isolate_styles=False)
    strip = st.components.v2.component("statescope_strip", js=STRIP, css=STRIP_STYLE)
    return chart, strip


def kept_chart(figure: Figure, key: str, alt: str) -> None:
    """Draw a figure; its camera and zoom survive a change of its data."""
    height = figure.layout.height or 420
    figure.update_layout(uirevision=key, autosize=True)
    _components()[0](
        data={"figure": json.dumps(figure.to_plotly_json(), default=_plain), "alt": alt}, key=key, height=int(height) + 10
    )


def token_strip(
    tokens: Sequence[str], values: Sequence[float], position: int, *, label: str, key: str, chosen: Callable[[], None]
) -> Any:
    """Tokens side by side, coloured by a value, the current one framed. A click calls `chosen`; `.position` is the token."""
    colors, inks = _tints(values)
    data = {"tokens": list(tokens), "values": list(values), "colors": colors, "inks": inks, "position": position, "label": label}
    return _components()[1](data=data, key=key, on_position_change=chosen)


def _tints(values: Sequence[float]) -> tuple[list[str], list[str]]:
    """A light-to-dark blue for each value, and an ink that reads on it."""
    low, high = min(values), max(values)
    shares = [(value - low) / (high - low) if high > low else 0.0 for value in values]
    colors = [f"rgb({int(235 - 235 * s)},{int(243 - 129 * s)},{int(250 - 72 * s)})" for s in shares]
    return colors, ["#ffffff" if share > 0.55 else "#111111" for share in shares]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
