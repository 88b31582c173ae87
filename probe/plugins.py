"""Where a part of this package stands, found by the kind that its class statement names. No list of parts is kept by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

ROOMS = ("kernels", "probe", "analyses", "app")
_STATEMENT = re.compile(r'^class\s+\w+\([^()]*\bkind\s*=\s*"([^"]+)"', re.MULTILINE)


@cache
def own_modules() -> Mapping[str, tuple[str, ...]]:
    """The modules of this package whose classes name a kind: kind -> modules. The source is read, and nothing is imported."""
    root = Path(__file__).resolve().parents[1]
    package = __name__.removesuffix(".probe.plugins")
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            module = ".".join((package, *file.relative_to(root).with_suffix("").parts))
            for kind in _STATEMENT.findall(file.read_text("utf-8")):
                modules = found.setdefault(kind, [])
                modules += [module] if module not in modules else []
    return {kind: tuple(modules) for kind, modules in found.items()}


def import_own(kind: str) -> None:
    """Import the modules of this package that name a kind. A kind that none names imports nothing, whatever it spells."""
    for module in own_modules().get(kind, ()):
        import_module(module)
