"""What a page is. A page about a run says which kinds of result it shows; which names they have there does not matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import streamlit as st

from ...probe.plugins import Kinds
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ..components.choose import choose_rows, rows_of
from ..components.figure import show
from ..components.origin import OfRun
from ..components.text import in_words, literal


class Page(Kinds, family="page"):
    """A page of the app about one run. A page in a file of one's own, or in an installed plug-in, is a class:

        class Horizons(Page, kind="horizons"):
            title = "Memory horizons"
            shows = ("memory_horizon",)

    It then shows each result of these kinds with its selectors, figure, summary, numbers and exports; `draw` may do otherwise.
    A page whose kinds a run does not have stays out of the menu.
    """

    title: ClassVar[str] = ""
    icon: ClassVar[str] = ":material/insights:"
    order: ClassVar[int] = 50
    """The menu lists pages in ascending order of this number."""
    intro: ClassVar[str] = ""
    """This tells a reader, in Markdown, what to know before the figures; it is never text of a run."""
    shows: ClassVar[tuple[str, ...]] = ()
    """The page shows results of these kinds."""
    always: ClassVar[bool] = False
    """If true, the menu lists the page even where a run has no result of these kinds."""

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        """Draw the page. results: those of the run that it shows, by name."""
        self.head()
        where = choose_rows(results.values())
        for name, result in results.items():
            if [other.title for other in results.values()].count(result.title) > 1:  # the charts do not say which is which
                st.subheader(literal(in_words(name)))
            show(OfRun(run), name, result, where)
            self.draw_below(name, rows_of(result, where))

    def draw_below(self, name: str, rows: Result | None) -> None:
        """Draw what goes below a result's figure; rows: those that are chosen, None where none are left."""

    def head(self) -> None:
        """Show the title and the intro."""
        st.header(self.title)
        if self.intro:
            st.markdown(self.intro)


class FolderPage(Kinds, family="folder page"):
    """A page of the app about no single run: about all there are, or about what could be run."""

    title: ClassVar[str] = ""
    icon: ClassVar[str] = ":material/folder_open:"
    order: ClassVar[int] = 50
    runs_models: ClassVar[bool] = False
    """If true, drawing the page imports what runs models, and it is drawn only once that is there."""

    def draw(self) -> None:
        """Draw the page, which belongs to no single run."""
        raise NotImplementedError
