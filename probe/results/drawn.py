"""A figure that is ready to be looked at or saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import unknown_name
from ..files import write_bytes
from .figure import Figure
from .style import PrintStyle, style_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure
    from plotly.graph_objects import Figure as PlotlyFigure

PRINTED = ("pdf", "svg", "png")
SUFFIXES = (*PRINTED, "html", "csv")


@dataclass(frozen=True)
class DrawnFigure:
    """A figure, together with the style in which it is drawn.

    specification: what is drawn. style: of print, by the name of a venue ("neurips", "icml", "slide", ...) or as a PrintStyle.
    In a notebook it shows itself. `save` writes it, `to_plotly` and `to_matplotlib` hand it on.
    """

    specification: Figure
    style: str | PrintStyle = "neurips"

    def __post_init__(self) -> None:
        style_named(self.style)

    def save(self, path: str | Path) -> Path:
        """Write the figure; the file appears whole or not at all. The same data gives the same bytes.

        path: its suffix chooses the format. `.pdf`, `.svg` and `.png` are for print, in the figure's style; `.html` is a page
            that can be zoomed and needs no network; `.csv` holds every drawn number.

        Raises UnknownNameError for another suffix.
        """
        path = Path(path)
        write_bytes(path, self.render(path.suffix.removeprefix(".")))
        return path

    def render(self, suffix: str) -> bytes:
        """The figure as the bytes of a file with this suffix."""
        if suffix in PRINTED:
            from .print import render_for_print

            return render_for_print(self.specification, suffix, self.style)
        if suffix == "html":
            from .interactive import page_of

            return page_of(self.to_plotly(), "figure")
        if suffix == "csv":
            return self.to_frame().to_csv(index=False).encode("utf-8", "replace")
        raise unknown_name("figure format", suffix, SUFFIXES)

    def show(self) -> None:
        """Show it in the notebook or the browser."""
        from .interactive import OPTIONS

        self.to_plotly().show(config=OPTIONS)

    def to_plotly(self, *, dark: bool = False) -> PlotlyFigure:
        """Draw the figure for the screen."""
        from .screen import draw_on_screen

        return draw_on_screen(self.specification, dark=dark)

    def to_matplotlib(self) -> MatplotlibFigure:
        """Draw the figure for print, so that it can be changed further."""
        from .print import draw_for_print

        return draw_for_print(self.specification, self.style)

    def to_frame(self) -> pd.DataFrame:
        """Every drawn number, one row a point: panel, series, x, y, low, high."""
        return self.specification.to_frame()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: plotly's figure where it can, else a picture."""
        from .interactive import for_notebook

        return {
            **for_notebook(self.to_plotly()),
            "image/png": self.render("png"),
            "text/plain": f"{self.specification.title}: {self.specification.alt}",
        }
