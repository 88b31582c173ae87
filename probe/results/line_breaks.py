"""Where the titles and labels of a drawing are broken into lines, so that each has room on the page.

The layout of matplotlib makes room for the height of a title and of a horizontal label, and for the width of a vertical one. A
text that is longer than its axes goes on over what stands beside it, and over the edge of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

MARGIN = 0.01  # of the page's width, left of the title over the figure
GAP = 0.04  # inches between two texts, and between a text and the edge of the page


def break_lines(drawing: Drawing, panels: Sequence[Axes], whole: Sequence[str]) -> list[str]:
    """Lay a drawing out, and break each of its texts that is longer than its room there. A word is never broken.

    whole: each text on one line: the title over the figure, then for each panel the label of its x axis, the label of its y axis
    and its title. Returns them in lines, which the drawing now has too.
    """
    engine = drawing.get_layout_engine()
    assert engine is not None
    engine.execute(drawing)
    renderer = FigureCanvasAgg(drawing).get_renderer()  # type: ignore[no-untyped-call]
    texts = [drawing.texts[0], *(text for axes in panels for text in (axes.xaxis.label, axes.yaxis.label, axes.title))]
    for text, line, room in zip(texts, whole, _rooms(drawing, panels), strict=True):
        text.set_text(_in_lines(text, line, room * drawing.dpi, renderer))
    return [text.get_text() for text in texts]


def _rooms(drawing: Drawing, panels: Sequence[Axes]) -> Iterator[float]:
    """How long each text may be, in inches.

    A title and a horizontal label have room to the edges of the page, and half the way to the middle of the next panel; a
    vertical label has the height of its axes, for what stands above and below them reaches out to the sides.
    """
    (width, height), boxes = drawing.get_size_inches(), [axes.get_position() for axes in panels]
    yield width * (1 - 2 * MARGIN)
    middles = [width * (box.x0 + box.x1) / 2 for box in boxes]
    for box, middle in zip(boxes, middles, strict=True):
        others = [abs(other - middle) for other in middles if abs(other - middle) > GAP]
        across = min(2 * middle, 2 * (width - middle), *others) - GAP
        yield from (across, height * box.height, across)


def _in_lines(text: Text, line: str, room: float, renderer: RendererAgg) -> str:
    """The words of a line, as many on each as there is room for, in the font of a text."""
    first, *words = line.split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        text.set_text(longer)
        box = text.get_window_extent(renderer)
        if (box.width if text.get_rotation() == 0 else box.height) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
