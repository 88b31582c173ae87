"""How tokens attend to those before them."""

from __future__ import annotations

from .page import Page


class AttentionPage(Page, kind="attention"):
    """Measures of softmax patterns, and of the exact effective attention of linear recurrences."""

    title = "Attention"
    icon = ":material/center_focus_strong:"
    order = 18
    shows = ("attention_measures",)
    intro = (
        "A linear recurrence mixes tokens by a matrix as softmax attention does, with weights that may be negative. How many "
        "tokens one attends to, how far back, and how much of that erasure changes, is measured alike for both."
    )
