"""What one can do with a figure that plotly shows, in a page, a notebook or the app."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Of the buttons above a chart, none that would send it to a service of plotly's, and none that marks points to no end.
OPTIONS: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}


NAMED = "%{text}: %{z:.4g}<extra></extra>"  # what is told of a cell of a map that is pointed at


def with_names(figure: Figure) -> Figure:
    """The figure with the names of each cell of a map, which are told when one points at it: beside a map not all have room."""
    told = type(figure)(figure)
    for trace in told.select_traces({"type": "heatmap"}):
        if trace.meta:
            texts = [[f"{row}, {column}" for column in trace.meta["columns"]] for row in trace.meta["rows"]]
            trace.update(text=texts, hovertemplate=NAMED)
    return told


def page_of(figure: Figure, name: str) -> bytes:
    """A page that shows a figure and needs no network. name: of the element; plotly would draw another one each time."""
    page: str = with_names(figure).to_html(OPTIONS, include_plotlyjs=True, include_mathjax=False, div_id=name, auto_play=False)
    return page.encode()


def for_notebook(figure: Figure) -> dict[str, Any]:
    """What a notebook that draws plotly's figures is handed."""
    return {"application/vnd.plotly.v1+json": json.loads(with_names(figure).to_json()) | {"config": OPTIONS}}
