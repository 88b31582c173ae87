"""The walk of a state as one figure that moves by itself: in a notebook's cell or a file, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...probe.files import write_bytes
from ...probe.results.interactive import for_notebook, page_of
from ...probe.results.text import for_plotly
from .state_walk import StateWalk, state_walk

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

    from ...probe.models.hooked import HookedModel

MOST_FRAMES = 256
MILLISECONDS = 200


class StateView:
    """The matrix state of one head after each token of a sequence, with a slider and a button that plays.

    walk: the states themselves, with what each token writes and erases. In a notebook it shows itself; `save` writes a page that
    needs no network. All tokens share one scale of colours. Of more than 256 tokens every second, third, ... is shown.
    """

    def __init__(self, walk: StateWalk) -> None:
        self.walk = walk

    def __repr__(self) -> str:
        return f"StateView({self.walk.name!r}, layer {self.walk.layer}, head {self.walk.head}, {len(self.walk)} tokens)"

    @property
    def shown(self) -> list[int]:
        """The positions that the slider stops at, the last token among them."""
        every = -(-len(self.walk) // MOST_FRAMES)
        return sorted({*range(every - 1, len(self.walk), every), len(self.walk) - 1})

    def to_plotly(self) -> PlotlyFigure:
        """Give the figure, whose frames are the tokens."""
        import plotly.graph_objects as go

        from ...probe.results.screen import draw_on_screen

        shown = self.shown
        drawn = [self.walk.at(position).specification() for position in shown]
        figure = draw_on_screen(drawn[-1])
        figure.frames = [
            go.Frame(name=str(position), data=[_numbers(trace) for trace in draw_on_screen(one).data])
            for position, one in zip(shown, drawn, strict=True)
        ]
        moved = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
        steps = [
            {
                "label": for_plotly(f"{position}: {self.walk.texts[position]}"),
                "method": "animate",
                "args": [[str(position)], moved],
            }
            for position in shown
        ]
        played = {**moved, "frame": {"duration": MILLISECONDS, "redraw": True}, "fromcurrent": True}
        buttons = [
            {"label": "play", "method": "animate", "args": [None, played]},
            {"label": "pause", "method": "animate", "args": [[None], moved]},
        ]
        slider = {"active": len(shown) - 1, "steps": steps, "currentvalue": {"prefix": "after token "}, "y": -0.25, "x": 0.12}
        menu = {"type": "buttons", "showactive": False, "buttons": buttons, "x": 0.0, "y": -0.3, "direction": "right"}
        return figure.update_layout(
            sliders=[slider | {"len": 0.88}], updatemenus=[menu], height=560, title=for_plotly(repr(self)), margin={"b": 160}
        )

    def save(self, path: str | Path) -> Path:
        """Write a page that shows it and needs no network; it appears whole or not at all. Raises ValueError for a suffix other
        than .html.
        """
        path = Path(path)
        if path.suffix != ".html":
            raise ValueError(f"{path.name}: a view that moves is saved as .html; for print, save walk.at(position).figure()")
        write_bytes(path, page_of(self.to_plotly(), "state"))
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows."""
        return {**for_notebook(self.to_plotly()), "text/plain": repr(self)}


def state_view(model: HookedModel, text: str | Tensor, layer: int = 0, head: int = 0, *, name: str = "model") -> StateView:
    """Look into the state of one head while a model reads a text; shows itself in a notebook.

    text: a text, for a model with a tokenizer; or token ids [T]. Raises ValueError for a layer without a state, NoTokenizerError
    for a text and a model without a tokenizer, TooLargeError for states of more than 3 GiB.
    """
    tokens = model.to_tokens(text)[0] if isinstance(text, str) else torch.as_tensor(text).flatten()
    ids = tokens.tolist()
    texts = model.texts_of(ids) if model.tokenizer is not None else [str(token) for token in ids]
    return StateView(state_walk(model, tokens, layer, head, name=name, texts=texts))


def _numbers(trace: Any) -> dict[str, Any]:
    """What of a trace differs from token to token."""
    own = {name: trace[name] for name in ("x", "y", "z") if name in trace and trace[name] is not None}
    return {"type": trace.type, **own}
