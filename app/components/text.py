"""Text from files, tokens and addresses among text of ours that Streamlit reads as Markdown.

Streamlit's titles, labels, captions and messages are Markdown with extensions: links, pictures, formulas, icons, colours. A
backslash does not stop all of them. Inside a code span nothing is read, so whatever is not ours goes there.
"""

from __future__ import annotations

import html
import re

import streamlit as st

from ...probe.results.text import visible, visible_lines

_HARMLESS = re.compile(r"[A-Za-z0-9]+([ _-][A-Za-z0-9]+)*")


def literal(text: object, most: int = 2000) -> str:
    """The text as it is, for a place that reads Markdown: plain words stand as they are, anything else in a code span."""
    shown = visible(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    if _HARMLESS.fullmatch(shown):
        return shown
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) or not shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"


def in_words(name: object) -> str:
    """A name of ours, such as a result's or a model's, as a reader has it: spaces for underscores."""
    return str(name).replace("_", " ")


def caption(text: object) -> None:
    """Text below a chart, as it is, in small letters."""
    st.html(f'<p style="font-size: 0.875rem; opacity: 0.65; margin: 0">{html.escape(visible_lines(text))}</p>')
