"""Layers whose recurrence no token chooses."""

from __future__ import annotations

from .page import Page


class TimeInvariant(Page, kind="time-invariant"):
    """Poles, responses, Hankel singular values and truncations of state-space layers."""

    title = "Fixed recurrences"
    icon = ":material/waves:"
    order = 12
    shows = ("system_poles", "system_response", "hankel_spectrum", "balanced_truncation", "past_recovery", "hippo_bases")
    intro = (
        "Up to its read-out such a layer is a linear filter. Its poles say how fast each mode decays and turns; its Hankel "
        "singular values how many states it needs; the memory curve what of the past can be read back from its state."
    )
