"""Tangent kernels: their spectra, how they move, and what they predict of training."""

from __future__ import annotations

from .page import Page


class Tangent(Page, kind="tangent"):
    """The page shows kernels, their motion in training, and predictions beside what was measured."""

    title = "Tangent kernel"
    icon = ":material/stacked_line_chart:"
    order = 50
    shows = (
        "lazy_or_rich",
        "recurrence_kernel",
        "learning_curves",
        "learning_rate_transfer",
        "tangent_spectrum",
        "tangent_motion",
        "state_tangent",
    )
    intro = (
        "The kernel of a model's gradients. If training is lazy it stays as it was at initialisation; if it is rich it turns "
        "towards the targets. Regression with the kernel predicts what a lazy network says, at every step and for any input."
    )
