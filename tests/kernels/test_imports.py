"""No circles between the kernels' files and folders: what the linter of imports holds of the other rooms, which are packages.

`kernels` has no `__init__.py`, so that a call is reached by the name of its file alone.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"


def imports_of(source: str, folder: tuple[str, ...]) -> set[str]:
    """The files and folders of `kernels` that a file in one of its folders imports from."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) + 1 - node.level]
            named = (*base, *(node.module or "").split(".")) if node.module else base
            found |= {named[0]} if named else {name.name for name in node.names}
    return found


def test_the_kernels_import_each_other_one_way() -> None:
    siblings: dict[str, set[str]] = {}
    for path in sorted(KERNELS.rglob("*.py")):
        place = path.relative_to(KERNELS).with_suffix("").parts
        siblings.setdefault(place[0], set()).update(imports_of(path.read_text("utf-8"), place[:-1]) - {place[0]})
    order = list(TopologicalSorter(siblings).static_order())
    assert order.index("chunked") < order.index("dispatch") < order.index("delta_rule")


def test_a_circle_is_seen() -> None:
    assert imports_of("from ..chunk_table import Layout", ("triton",)) == {"chunk_table"}
    assert imports_of("from . import cells\nfrom .scan import scan", ("reference",)) == {"reference"}
    assert imports_of("def f():\n    from .triton.launch import run", ()) == {"triton"}
    assert imports_of("from . import precision", ()) == {"precision"}
    with pytest.raises(CycleError):
        list(TopologicalSorter({"chunked": {"dispatch"}, "dispatch": {"chunked"}}).static_order())
