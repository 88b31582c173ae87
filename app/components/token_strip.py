"""A strip of tokens that can be clicked, stepped through and played."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import streamlit as st

from ...probe.results.palette import ink_on
from .component_key import component_key

WINDOW = 256  # tokens

STRIP = """
export default function(component) {
    const { data, parentElement, setStateValue } = component;
    let strip = parentElement.querySelector(".strip");
    if (!strip) {
        strip = document.createElement("div");
        strip.className = "strip";
        strip.tabIndex = 0;
        strip.setAttribute("role", "group");
        parentElement.appendChild(strip);
        strip.timer = null;
        const button = (text, label, act) => {
            const made = document.createElement("button");
            made.textContent = text;
            made.title = label;
            made.setAttribute("aria-label", label);
            made.className = "step";
            made.onclick = act;
            strip.bar.appendChild(made);
            return made;
        };
        strip.go = position => {
            const wanted = Math.max(0, Math.min(strip.data.last, position));
            if (wanted !== strip.asked) {
                strip.asked = wanted;
                strip.setStateValue("position", wanted);
            }
        };
        strip.stop = () => { clearInterval(strip.timer); strip.timer = null; strip.player.textContent = "play"; };
        strip.play = () => {
            if (strip.timer !== null) { strip.stop(); return; }
            if (strip.data.position >= strip.data.last) strip.go(0);
            strip.player.textContent = "pause";
            // The next token is asked for once the last one is drawn, and not before.
            strip.timer = setInterval(() => {
                if (strip.asked !== strip.data.position) return;
                if (strip.data.position >= strip.data.last) strip.stop(); else strip.go(strip.data.position + 1);
            }, 160);
        };
        strip.bar = document.createElement("div");
        strip.appendChild(strip.bar);
        button("|\u25c0", "first token", () => strip.go(0));
        button("\u25c0", "token before", () => strip.go(strip.data.position - 1));
        strip.player = button("play", "play or pause", strip.play);
        strip.player.classList.add("player");
        button("\u25b6", "next token", () => strip.go(strip.data.position + 1));
        button("\u25b6|", "last token", () => strip.go(strip.data.last));
        strip.where = document.createElement("span");
        strip.bar.appendChild(strip.where);
        strip.cells = document.createElement("div");
        strip.appendChild(strip.cells);
        strip.onkeydown = event => {
            const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -16, PageDown: 16 };
            if (event.key in steps) strip.go(strip.data.position + steps[event.key]);
            else if (event.key === "Home") strip.go(0);
            else if (event.key === "End") strip.go(strip.data.last);
            else if (event.key === " " && event.target === strip) strip.play();
            else return;
            event.preventDefault();
        };
    }
    const old = strip.data;
    strip.data = data;
    strip.asked = data.position;
    strip.setStateValue = setStateValue;
    strip.setAttribute("aria-label", "tokens; arrow keys step, space plays");
    strip.where.textContent = `token ${data.position} of 0 to ${data.last}`;
    if (!old || old.content !== data.content) {
        strip.cells.replaceChildren();
        data.tokens.forEach((token, index) => {
            const position = data.begin + index;
            const cell = document.createElement("button");
            cell.textContent = token;
            cell.title = `${position}: ${data.label} ${data.values[index]}`;
            cell.setAttribute("aria-label", `token ${position}: ${token}, ${data.label} ${data.values[index]}`);
            cell.style.background = data.colors[index];
            cell.style.color = data.inks[index];
            cell.tabIndex = -1;
            if (position >= data.made) cell.classList.add("made");
            cell.onclick = () => strip.go(position);
            strip.cells.appendChild(cell);
            if (token === "\\n") strip.cells.appendChild(document.createElement("br"));
        });
    }
    strip.cells.querySelectorAll("button").forEach((cell, index) => {
        const now = data.begin + index === data.position;
        cell.classList.toggle("now", now);
        if (now) cell.setAttribute("aria-current", "true"); else cell.removeAttribute("aria-current");
    });
    return () => clearInterval(strip.timer);
}
"""

STRIP_STYLE = """
.strip { font-family: monospace; font-size: 0.85rem; line-height: 1.5; padding: 2px; }
.strip:focus-visible { outline: 2px solid #0072B2; }
.strip button { border: none; padding: 0 2px; margin: 0 1px 0 0; font: inherit; cursor: pointer; min-width: 0.7em; }
.strip button { white-space: pre; }
.strip button.step { padding: 0 0.5em; margin: 0 0.25em 0.25em 0; background: none; color: inherit; font-family: sans-serif; }
.strip button.step { border: 1px solid #888888; border-radius: 4px; }
.strip span { margin-left: 0.5em; }
.strip button.made { text-decoration: underline dotted; }
.strip button.now { outline: 2px solid #D55E00; outline-offset: 0; z-index: 1; position: relative; }
"""


@cache
def _strip() -> Any:
    return st.components.v2.component("statescope_strip", js=STRIP, css=STRIP_STYLE)


def token_strip(
    tokens: Sequence[str],
    values: Sequence[float],
    position: int,
    *,
    label: str,
    name: str,
    state: str = "position",
    read: int | None = None,
) -> None:
    """Tokens side by side, coloured by a value, the current one framed; buttons and keys step through them and play.

    Of more than 256 tokens those around the current one are shown. A click, a key or a step of play sets the position that the
    session holds under `state`, as the slider of that key does. name: differs from that of any other strip of the page. read:
    how many tokens were read; those behind them, which the model made, are underlined.
    """
    key = component_key(f"strip-{name}")
    begin = position // WINDOW * WINDOW
    shown = slice(begin, begin + WINDOW)
    low, high = min(values), max(values)
    colors, inks = _tints(values[shown], low, high)
    parts = {"tokens": list(tokens[shown]), "values": list(values[shown]), "colors": colors, "inks": inks, "label": label}
    data = {**parts, "begin": begin, "position": position, "last": len(tokens) - 1, "made": len(tokens) if read is None else read}
    data["content"] = hashlib.sha256(json.dumps([parts, begin, data["made"]]).encode()).hexdigest()
    _strip()(
        data=data, key=key, on_position_change=lambda: st.session_state.update({state: int(st.session_state[key]["position"])})
    )


def _tints(values: Sequence[float], low: float, high: float) -> tuple[list[str], list[str]]:
    """A light-to-dark blue for each value between two, and an ink that reads on it."""
    shares = [(value - low) / (high - low) if high > low else 0.0 for value in values]
    blues = [(int(235 - 235 * share), int(243 - 129 * share), int(250 - 72 * share)) for share in shares]
    return [f"rgb({red},{green},{blue})" for red, green, blue in blues], [ink_on(*blue) for blue in blues]
