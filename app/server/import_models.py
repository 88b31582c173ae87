"""What runs models, imported by the first thread that needs it."""

from __future__ import annotations

import contextlib

from ...probe.errors import StatescopeError
from .once import Once


def _for_models() -> None:
    """The pages about a model, and what opens a model."""
    from ...probe import loaders  # noqa: F401 (to have it)
    from ...probe.runs import trained_model  # noqa: F401 (to have it)
    from ..components import reading  # noqa: F401 (to have it)
    from ..pages.live_page import LivePage

    for kind in LivePage.kinds():
        with contextlib.suppress(StatescopeError):
            LivePage.of_kind(kind)


import_for_models = Once(_for_models)
