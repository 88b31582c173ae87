"""What layers and states say, what they are for, and what they are made of."""

from __future__ import annotations

from .page import Page


class Lenses(Page, kind="lenses"):
    """The page shows lenses, readings of states, skips of layers, drift of models, and dictionaries beside their controls."""

    title = "Lenses and features"
    icon = ":material/search:"
    order = 32
    shows = (
        "lens_scores",
        "lens_reading",
        "state_reading",
        "depth_use",
        "induction_scores",
        "logit_correlation",
        "model_difference",
        "dictionary_scores",
        "gates",
    )
    intro = (
        "A lens reads an activation as the model's own unembedding would; it means something beside the constant answer, which "
        "reads nothing. A dictionary takes an activation apart into features; it has found some where the model keeps more of "
        "its loss with the reconstruction than with as many random directions or principal axes."
    )
