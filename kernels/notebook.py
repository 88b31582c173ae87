"""What a notebook shows of an object: a title with a table, and numbers in the complex plane, as HTML that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 180  # pixels of the plane


def titled_table(title: str, rows: Iterable[Iterable[str]], below: str = "") -> str:
    """A title above rows of cells, all of them shown as text. below: HTML that follows."""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div><b>{html.escape(title)}</b><table>{body}</table>{below}</div>"


def complex_plane(values: Tensor, name: str) -> str:
    """An SVG of numbers beside the unit circle, one unit as long on both axes. values: finite. name: in its alt text."""
    places = values.detach().cpu().flatten()
    reach = max(1.0, float(places.abs().max()) if len(places) else 0.0) * 1.08
    across = 0.02 * reach
    points = "".join(
        f'<circle cx="{place.real:.4g}" cy="{0 - place.imag:.4g}" r="{across:.3g}" fill="#0072B2" fill-opacity="0.5"/>'
        for place in places.tolist()
    )
    axes = f'<path d="M{-reach:.4g} 0H{reach:.4g}M0 {-reach:.4g}V{reach:.4g}"/><circle r="1"/>'
    return (
        f'<svg role="img" aria-label="{html.escape(name)} in the complex plane, beside the unit circle" width="{SIDE}" '
        f'height="{SIDE}" viewBox="{-reach:.4g} {-reach:.4g} {2 * reach:.4g} {2 * reach:.4g}"><g fill="none" stroke="#888" '
        f'stroke-width="{0.008 * reach:.3g}">{axes}</g>{points}</svg>'
    )
