"""What is imported while the browser opens: first what the first page needs, and what runs models once that page is shown.

A page that shows stored results imports nothing that runs models. Torch takes longer to import than such a page to be drawn, and
two threads of one process import no faster than one; so it waits for its turn.

Nor may two threads import parts of one package at once. Each holds the module that it imports; where each waits for the other's,
Python lets one of them go on with a module of which only the first lines have run, and the import fails. So whatever opens a page
asks here first, and waits while another thread imports the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ...probe.errors import StatescopeError
from ..environment import model_folders, plugin_files

PATIENCE = 60.0  # seconds without a page, after which the rest is imported all the same
BREATH = 4.0  # seconds in which the browser draws the first page undisturbed
SHOWN = threading.Event()  # a page has been drawn


class Once:
    """Work that is done by the first thread that calls, while any other that calls waits for its end; and never again."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        """Return once the work is done. What it raises reaches its caller, and the next one tries again."""
        with self._lock:
            if not self._done:
                self._work()
                self._done = True


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


def _for_models() -> None:
    """The pages about a model, and what opens a model."""
    import_for_pages()
    from ...probe import loaders  # noqa: F401 (to have it)
    from ...probe.runs import trained_model  # noqa: F401 (to have it)
    from ..components import reading  # noqa: F401 (to have it)
    from ..pages.live_page import LivePage

    for kind in LivePage.kinds():
        with contextlib.suppress(StatescopeError):
            LivePage.of_kind(kind)


import_for_pages = Once(_for_pages)
import_for_models = Once(_for_models)
