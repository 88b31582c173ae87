"""Sizes and fonts of figures in print, by venue, at the size they have on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import unknown_name

SMALLEST = 6.0  # points; nothing on paper is smaller


@dataclass(frozen=True)
class PrintStyle:
    """How a figure is set.

    width: of the figure in inches: the text width of the venue, or the width of one of its columns.
    font: "serif" is Times-like as the venues' text, "sans" is for slides.
    size: of axis labels in points; titles are one point larger, tick labels and legends one smaller.
    panel_height: in inches.
    columns: the most panels side by side.
    """

    width: float
    font: Literal["serif", "sans"] = "serif"
    size: float = 8.0
    panel_height: float = 1.9
    columns: int = 3

    @property
    def title_size(self) -> float:
        """The size of the title over the figure in points, the largest."""
        return self.size + 1.5

    def settings(self) -> dict[Any, Any]:
        """Settings of matplotlib: TrueType fonts in a PDF, text as text in an SVG, and nothing that differs between two runs."""
        family = ["STIXGeneral", "DejaVu Sans"] if self.font == "serif" else ["DejaVu Sans"]
        small = max(SMALLEST, self.size - 1)
        return {
            "font.family": family,
            "mathtext.fontset": "stix" if self.font == "serif" else "dejavusans",
            "text.usetex": False,
            "font.size": self.size,
            "figure.titlesize": self.title_size,
            "axes.titlesize": self.size + 0.5,
            "axes.labelsize": self.size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "lines.linewidth": 1.2,
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
            "svg.hashsalt": "statescope",
        }


STYLES = {
    "neurips": PrintStyle(5.5),
    "iclr": PrintStyle(5.5),
    "icml": PrintStyle(3.25, size=7.5, columns=1),
    "icml-wide": PrintStyle(6.75, size=7.5),
    "aistats": PrintStyle(3.25, columns=1),
    "jmlr": PrintStyle(6.0, size=8.5),
    "tmlr": PrintStyle(6.5, size=8.5),
    "slide": PrintStyle(10.0, "sans", size=14.0, panel_height=3.6, columns=2),
}


def style_named(style: str | PrintStyle) -> PrintStyle:
    """A style by the name of its venue, or as it is given. Raises UnknownNameError with the nearest name."""
    if isinstance(style, PrintStyle):
        return style
    if style not in STYLES:
        raise unknown_name("style", style, STYLES)
    return STYLES[style]
