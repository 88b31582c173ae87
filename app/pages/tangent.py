"""The spectrum of the empirical tangent kernel."""

from __future__ import annotations

from .page import Page


class Tangent(Page, kind="tangent"):
    """The page shows the kernel's spectrum, and how it turns to the targets."""

    title = "Tangent kernel"
    icon = ":material/stacked_line_chart:"
    order = 50
    shows = ("tangent_spectrum",)
    intro = (
        "The kernel of a model's gradients. If training is lazy it stays as it was at initialisation; if it is rich it turns "
        "towards the targets."
    )
