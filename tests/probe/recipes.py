"""The recipes of docs/extending.md, and how to run one: its files in a folder, and then its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statescope.probe.plugins import Kinds

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


@dataclass(frozen=True)
class Recipe:
    """files: name -> text. scripts: the blocks of lines that use them, in order."""

    title: str
    files: dict[str, str]
    scripts: tuple[str, ...]

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).write_text(text, "utf-8")


def recipes() -> list[Recipe]:
    """One for each heading of the guide that has Python under it. A block that begins "# file: NAME" is a file."""
    found = []
    for section in re.split(r"^## ", GUIDE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        files = {block.split("\n", 1)[0].removeprefix("# file: "): block for block in blocks if block.startswith("# file: ")}
        scripts = tuple(block for block in blocks if not block.startswith("# file: "))
        if blocks:
            found.append(Recipe(section.split("\n", 1)[0], files, scripts))
    return found


def recipe(title: str) -> Recipe:
    return next(one for one in recipes() if one.title == title)


def families(base: type[Any] = Kinds) -> Iterator[type[Any]]:
    """The bases of all families of kinds."""
    for kind in base.__subclasses__():
        if "known" in vars(kind):
            yield kind
        yield from families(kind)


@contextmanager
def forgotten_afterwards() -> Iterator[None]:
    """Kinds that are made within are unknown again behind it."""
    before = {family: dict(family.known) for family in families()}
    try:
        yield
    finally:
        for family in families():
            kept = before.get(family, {})
            for kind in set(family.known) - set(kept):
                if not family.known[kind].__module__.startswith("statescope."):
                    del family.known[kind]
