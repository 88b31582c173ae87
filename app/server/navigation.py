"""The menu: pages about all runs, and those that the chosen run has something for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import streamlit as st

from ...probe.declarations import declarations
from ...probe.errors import StatescopeError
from ...probe.plugins import import_file
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ..components.models import current_models
from ..components.runs import current_run, kinds_of, read_result
from ..components.start import offer_first_run
from ..components.text import in_words, literal
from ..environment import plugin_files
from ..pages.live_page import LivePage
from ..pages.page import FolderPage, Page
from .import_models import import_for_models

P = TypeVar("P", Page, FolderPage)
REST = "results"  # the page of what no other page shows
IN_A_MENU = ("title", "icon", "order")  # what a menu says of a page, or sorts it by


def import_plugins() -> None:
    """Import the files of the user's own that the app was started with; they may hold results and pages."""
    for path in plugin_files():
        try:
            import_file(path)
        except StatescopeError as error:
            st.sidebar.error(literal(error))


def every_page(family: type[P]) -> list[P]:
    """All pages of a family, ours and those of plug-ins, in the order of the menu."""
    found = []
    for kind in family.kinds():
        try:
            found.append(family.of_kind(kind)())
        except StatescopeError as error:
            st.sidebar.error(literal(error))
    return sorted(found, key=lambda page: (page.order, page.title))


def live_pages() -> list[st.Page]:
    """The pages about a model. They import what runs models, so the class of each is imported when it is opened; until then its
    source says what the menu needs.
    """
    said = {found.kind: found.constants for found in declarations(LivePage.family)}
    pages = [(_told(kind, said.get(kind, {})), kind) for kind in LivePage.kinds()]
    return [
        st.Page(_showing(kind), title=told["title"], icon=told["icon"], url_path=kind)
        for told, kind in sorted(pages, key=lambda page: (page[0]["order"], page[0]["title"]))
    ]


def _told(kind: str, constants: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the menu says of a page about a model; its class is asked where that is no literal of its source."""
    if all(name in constants for name in IN_A_MENU):
        return constants
    try:
        page = LivePage.of_kind(kind)
    except StatescopeError as error:
        st.sidebar.error(literal(error))
        page = LivePage
    return {name: getattr(page, name) for name in IN_A_MENU} | {"title": page.title or kind}


def _showing(kind: str) -> Callable[[], None]:
    def show() -> None:
        wait_for_models()
        try:
            page = LivePage.of_kind(kind)()
        except StatescopeError as error:
            st.error(f"This page cannot be opened: {literal(error)}")
            return
        page.show()

    return show


def wait_for_models() -> None:
    """Import what runs models, or wait until another thread has done it."""
    with st.spinner("What runs models is being imported."):
        import_for_models()


def _drawing_folder(page: FolderPage) -> Callable[[], None]:
    def draw() -> None:
        if page.runs_models:
            wait_for_models()
        page.draw()

    return draw


def menu(run: Run | None) -> dict[str, list[st.Page]]:
    """The pages by section. Who comes without the address of a page sees the first about the run; where there is no run, the
    first about a model; and where there is neither, one that offers to make a run.
    """
    folder = [
        st.Page(_drawing_folder(page), title=page.title, icon=page.icon, url_path=page.kind) for page in every_page(FolderPage)
    ]
    live = live_pages()
    if run is not None:
        own = entries(run)
        return {"This run": [front(own[0]), *own], "Live model": live, "All": folder}
    start = st.Page(offer_first_run, title="Start", icon=":material/play_arrow:", url_path="start")
    if current_models():
        return {"Live model": [front(live[0]), *live], "": [start], "All": folder}
    return {"": [front(start), start], "Live model": live, "All": folder}


def front(page: st.Page) -> st.Page:
    """What stands at the address of the app alone, and goes on to a page. That one could be no default page itself, for this has
    no address of its own: whoever follows a link to it would be told that there is no such page.
    """
    return st.Page(
        lambda: st.switch_page(page, query_params=st.query_params.to_dict()),
        title=page.title,
        url_path="front",
        default=True,
        visibility="hidden",
    )


def names_shown(page: Page, run: Run, pages: list[Page]) -> list[str]:
    """The names of the results of a run that a page shows."""
    claimed = {kind for other in pages for kind in other.shows}
    kinds = kinds_of(run)
    wanted = [name for name, kind in kinds.items() if (kind not in claimed if page.kind == REST else kind in page.shows)]
    order = {kind: place for place, kind in enumerate(page.shows)}
    return sorted(wanted, key=lambda name: order.get(kinds[name] or "", 0))


def entries(run: Run) -> list[st.Page]:
    """The menu of a run. A page with nothing to show is not in the menu, but still there for who follows a link to it."""
    pages = every_page(Page)
    return [
        st.Page(
            _drawing(page, pages),
            title=page.title,
            icon=page.icon,
            url_path=page.kind,
            visibility="visible" if page.always or names_shown(page, run, pages) else "hidden",
        )
        for page in pages
    ]


def _drawing(page: Page, pages: list[Page]) -> Callable[[], None]:
    def draw() -> None:
        run = current_run()
        names = names_shown(page, run, pages)
        if not names and not page.always:
            page.head()
            st.info(_why_empty(page, run), icon=":material/info:")
            for name, kind in kinds_of(run).items():
                if kind is None:  # it might be one of this page's
                    read_result(run, name)
            return
        read = {name: read_result(run, name) for name in names}
        results: dict[str, Result] = {name: result for name, result in read.items() if result is not None}
        if results or page.always:
            page.draw(run, results)

    return draw


def _why_empty(page: Page, run: Run) -> str:
    kinds = ", ".join(in_words(kind) for kind in page.shows) or "that no other page shows"
    state = "is still running, and has none yet" if run.status == "running" else "computes none"
    return f"Here would stand results of the kind {literal(kinds)}. The study {literal(run.manifest.title)} {state}."
