"""Text from tokens, files and addresses, made so that whoever draws it shows it as text.

plotly reads a few HTML tags and entities in every title, label and name, and `$...$` as a formula; matplotlib reads `$...$` as a
formula too. An SVG may hold no control character, and no encoder takes half a surrogate pair.
"""

from __future__ import annotations

import html

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x09: "⇥", 0x0A: "↵"}
_UNPRINTABLE = (*range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # would reorder what stands around them
_VISIBLE = _CONTROLS | dict.fromkeys((*_UNPRINTABLE, *_TURNS), "\ufffd")


def visible(text: object) -> str:
    """The text on one line, with a sign for each character that has no shape: a new line is ↵, a tab ⇥."""
    return str(text).translate(_VISIBLE)


def visible_lines(text: object) -> str:
    """The text with its lines, each as `visible` shows it."""
    return "\n".join(visible(line) for line in str(text).split("\n"))


def for_plotly(text: object) -> str:
    """The text as plotly shows it unchanged."""
    return html.escape(visible(text), quote=False).replace("$", "&#36;")


def for_matplotlib(text: object) -> str:
    """The text as matplotlib shows it unchanged."""
    return visible(text).replace("$", r"\$")
