"""The app: pages over run folders. Streamlit runs this file; `statescope app` starts it."""

from __future__ import annotations

import streamlit as st

from statescope.app.components.runs import choose_run, runs_folder, sort_runs
from statescope.app.components.text import literal

PAGES = {
    "overview": ("Overview", ":material/summarize:"),
    "transitions": ("Transitions", ":material/blur_circular:"),
    "states": ("State over time", ":material/timeline:"),
    "probes": ("Probes", ":material/ssid_chart:"),
    "directions": ("Directions", ":material/explore:"),
    "tangent": ("Tangent kernel", ":material/stacked_line_chart:"),
}

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
    if not runs:
        st.navigation([st.Page("views/start.py", title="Start")]).run()
        return
    pages = [
        st.Page(f"views/{name}.py", title=title, icon=icon, default=name == "overview") for name, (title, icon) in PAGES.items()
    ]
    st.navigation(pages).run()


main()
