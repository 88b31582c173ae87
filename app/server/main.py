"""The app: pages over run folders. Streamlit runs this file; `statescope app` starts it."""

from __future__ import annotations

import streamlit as st

from statescope.app.components.runs import choose_run, current_run, sort_runs
from statescope.app.components.start import offer_first_run
from statescope.app.components.text import literal
from statescope.app.environment import runs_folder
from statescope.app.server.navigation import entries, import_plugins

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="none" stroke="#0072B2" '
    'stroke-width="1.5"/><path d="M2 8h3l2-4 3 8 1.5-4H14" fill="none" stroke="#D55E00" stroke-width="1.5"/></svg>'
)


def main() -> None:
    """Choose a run in the side bar and show a page of it."""
    st.set_page_config("statescope", page_icon=ICON, layout="wide")
    runs, damaged = sort_runs()
    with st.sidebar:
        st.title("statescope")
        st.caption(f"runs in {literal(runs_folder())}")
        if runs:
            choose_run([run.path.name for run in runs])
        for error in damaged:
            st.error(f"A damaged run is left out: {literal(error)}")
    import_plugins()
    pages = entries(current_run()) if runs else [st.Page(offer_first_run, title="Start")]
    st.navigation(pages).run()


main()
