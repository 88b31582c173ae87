"""What transitions do, token by token."""

from __future__ import annotations

from .page import Page


class ByToken(Page, kind="by_token"):
    """Spectra by the class of the token, and the measures of every transition."""

    title = "Transitions by token"
    icon = ":material/category:"
    order = 12
    shows = ("spectrum_by_label", "transition_measures")
    intro = (
        "What does a head do on each token? A negative eigenvalue flips a sign, a complex pair turns by its angle, a modulus "
        "above 1 grows. A head that treats all tokens alike tells nothing of what they say."
    )
