"""Text that is not ours, between text of ours that is Markdown."""

from __future__ import annotations

import re

import pytest

from statescope.app.components.text import literal

ODD = (
    *("![x](http://host/y.png)", "[x](http://h)", "http://host", "www.host.example", "a@b.example", "<b>", "&lt;"),
    *("`", "``a`", " a", "a`", "``", "`" * 40, "", " ", "a\nb"),
    *("$x$", ":red[x]", ":material/home:", ":smile:", "# x", "- x", "1. x", "\\", "*", "_x_"),
)


@pytest.mark.parametrize("text", ODD)
def test_what_is_not_plain_words_stands_in_one_code_span(text: str) -> None:
    shown = literal(text)
    fence = re.match("`+", shown).group()
    inside = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence) and len(shown) > 2 * len(fence)
    assert fence not in re.findall("`+", inside), "the span ends early"
    assert inside.strip() == text.replace("\n", "↵").strip()
    assert not inside.startswith("`") and not inside.endswith("`")


def test_plain_words_stand_as_they_are_and_long_text_is_cut() -> None:
    assert literal("accuracy by length") == "accuracy by length"
    assert literal("parity-seed0") == "parity-seed0"
    assert len(literal("x<" * 5000)) < 2100
