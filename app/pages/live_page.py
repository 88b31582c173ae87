"""What a page about a model and a text is: what one sees while one types."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import streamlit as st

from ...probe.plugins import Kinds
from ..components.models import choose_model

if TYPE_CHECKING:
    from ..components.reading import LiveReading


class LivePage(Kinds, family="live page"):
    """A page of the app about any model, of a run or of a folder that the command line names, and any text. A page of one's own:

        class Norms(LivePage, kind="live_norms"):
            title = "Norms"

            def draw(self, reading: LiveReading) -> None:
                st.line_chart(reading.compute("norms", lambda: norms_of(reading.live.model, reading.tensor)))

    The model and the text are chosen above it, and stay chosen from page to page.
    """

    title: ClassVar[str] = ""
    icon: ClassVar[str] = ":material/bolt:"
    order: ClassVar[int] = 50
    intro: ClassVar[str] = ""
    """This tells a reader, in Markdown, what to know before the figures; it is never text of a model."""

    def draw(self, reading: LiveReading) -> None:
        """Draw the page below the text."""
        raise NotImplementedError

    def show(self) -> None:
        """Show the title, choose a model and a text, and draw."""
        from ..components.reading import choose_reading  # which imports what runs models

        st.header(self.title)
        if self.intro:
            st.markdown(self.intro)
        live = choose_model()
        reading = None if live is None else choose_reading(live)
        if reading is not None:
            self.draw(reading)
