"""What is imported while the browser opens: first what the first page needs, and what runs models once that page is shown.

A page that shows stored results imports nothing that runs models. Torch takes longer to import than such a page to be drawn, and
two threads of one process import no faster than one; so it waits for its turn.
"""

from __future__ import annotations

import contextlib
import threading
import time

from ...probe.errors import StatescopeError
from ..environment import model_folders, plugin_files
from .import_models import import_for_models
from .once import Once

PATIENCE = 60.0  # seconds without a page, after which the rest is imported all the same
BREATH = 4.0  # seconds in which the browser draws the first page undisturbed
SHOWN = threading.Event()  # a page has been drawn


def begin() -> None:
    """Import in a thread of its own; what cannot be imported is told where it is needed."""
    threading.Thread(target=_import, daemon=True).start()


def _import() -> None:
    import_for_pages()
    if not model_folders() and SHOWN.wait(PATIENCE):  # who names a model looks into it first
        time.sleep(BREATH)
    import_for_models()


def _for_pages() -> None:
    """The menu with its pages, the user's own files, plotly with its template, and the classes of results."""
    import numpy as np

    from ...probe.plugins import import_file
    from ...probe.results.figure import Figure, Line, Panel
    from ...probe.results.result import Result
    from ...probe.results.screen import draw_on_screen
    from ..pages.page import FolderPage, Page
    from . import script  # noqa: F401 (to have it)

    for path in plugin_files():
        with contextlib.suppress(StatescopeError):
            import_file(path)
    for family in (Page, FolderPage, Result):
        for kind in family.kinds():
            with contextlib.suppress(StatescopeError):
                family.of_kind(kind)
    draw_on_screen(Figure("", [Panel([Line(np.zeros(1), np.zeros(1))], "", "")])).to_json()


import_for_pages = Once(_for_pages)
