"""plotly.js as it comes with its package, under an address of the server: a browser keeps it from one visit to the next."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PATH = "/plotly.min.js"
A_YEAR = 31_536_000  # seconds; another version has another address
# It is sent as it is: to compress five megabytes takes longer than this machine takes to hand them to itself.
HEADERS = {"Cache-Control": f"public, max-age={A_YEAR}, immutable", "Content-Encoding": "identity"}


@cache
def library_address() -> str:
    """The address of plotly.js, which names its version."""
    return f"{PATH}?v={version('plotly')}"


def library_file() -> Path:
    """The file in the installed package, which is not imported to find it."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("package_data") / "plotly.min.js"
