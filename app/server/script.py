"""The app: pages over run folders. This is what every step of a reader runs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..components.address import entered
from ..components.index import RunFacts, runs_there_are
from ..components.runs import choose_run, current_run
from ..components.text import literal
from ..environment import runs_folder
from .navigation import import_plugins, menu

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="none" stroke="#0072B2" '
    'stroke-width="1.5"/><path d="M2 8h3l2-4 3 8 1.5-4H14" fill="none" stroke="#D55E00" stroke-width="1.5"/></svg>'
)


# Streamlit puts the menu above all else in the side bar, where a low screen hides the run that the menu's pages are about; and
# leaves a tenth of the screen empty above a page and as much beside it.
LOOK = """<style>
[data-testid=stSidebarContent] { display: flex; flex-direction: column; reading-flow: flex-visual; }
[data-testid=stSidebarNav] { order: 1; padding-top: 0; }
[data-testid=stSidebarUserContent] { padding-top: 0; padding-bottom: 0.5rem; }
[data-testid=stSidebarNavSeparator] { display: none; }
[data-testid=stMainBlockContainer] { padding-top: 3.5rem; }
@media (max-width: 640px) { [data-testid=stColumn]:not(:has([data-testid=stElementContainer])) { display: none; } }
@media (min-width: 768px) { [data-testid=stMainBlockContainer] { padding-left: 3rem; padding-right: 3rem; } }
</style>"""
MOST_TOLD = 3


def main() -> None:
    """Choose a run in the side bar and show a page of it."""
    st.set_page_config("statescope", page_icon=ICON, layout="wide")
    runs = runs_there_are()
    sound = [facts.name for facts in runs if facts.status != "damaged"]
    st.html(LOOK)
    with st.sidebar:
        st.title("statescope")
        st.caption(f"runs in {literal(runs_folder())}")
        if sound:
            choose_run(sound)
            if current_run().status == "running":
                st.caption("It is still running: what it has not computed yet is missing here.")
        else:
            st.session_state.pop("run", None)  # what was shown is gone
        tell_damaged([facts for facts in runs if facts.status == "damaged"])
    import_plugins()
    page = st.navigation(menu(current_run() if sound else None), expanded=True)
    with entered(page.url_path, ["run"] if sound else []):
        page.run()


def tell_damaged(damaged: Sequence[RunFacts]) -> None:
    """Tell which runs cannot be read, and why; the page of all runs lists the rest."""
    for facts in damaged[:MOST_TOLD]:
        st.error(f"A damaged run is left out: {literal(facts.note)}")
    if len(damaged) > MOST_TOLD:
        st.error(f"{len(damaged) - MOST_TOLD} more are damaged; the page of all runs lists them.")
