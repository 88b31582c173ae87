"""Results that no other page shows."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from ...probe.results.result import Result
from ...probe.runs.run import Run
from ..components.choose import choose, choose_rows
from ..components.figure import show
from ..components.origin import OfRun
from ..components.text import caption, in_words
from .page import Page


class Results(Page, kind="results"):
    """One result at a time, with what it says of itself. It declares no kinds: what no page declares comes here."""

    title = "Other results"
    icon = ":material/table_chart:"
    order = 90

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        self.head()
        if not results:
            return
        box = st.columns(2)[0]
        name = choose("result", list(results), "result", where=box, format_func=in_words)
        caption((type(results[name]).__doc__ or "").partition("\n")[0].replace("`", ""))
        show(OfRun(run), name, results[name], choose_rows([results[name]]))
