"""What states hold, and for how long."""

from __future__ import annotations

from .page import Page


class Memory(Page, kind="memory"):
    """Horizons of the transitions, and the geometry of the states."""

    title = "Memory"
    icon = ":material/hourglass_bottom:"
    order = 14
    shows = (
        "memory_horizon",
        "lasting_directions",
        "stability",
        "state_geometry",
        "singular_values",
        "window_spectrum",
        "recall_capacity",
        "recall_by_age",
        "measured_horizon",
        "recall_memory",
        "product_growth",
    )
    intro = (
        "The product of the transitions says how long a direction of the state lasts: its Lyapunov exponent is the mean growth a "
        "token, and ln 2 over minus it the half-life. The rank of the state says how much it holds; what is written, beside "
        "what is erased, how it changes."
    )
