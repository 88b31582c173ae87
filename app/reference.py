"""Every public name by subject, with the first sentence that is written of it: the page docs/reference.md.

`python -m statescope.app.reference > docs/reference.md` writes the page again.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ..probe.hooks.methods import markdown_table
from ..probe.hooks.points import Point

ROOT = "statescope"
PARTS = f"{ROOT}.kernels.functionals"  # beside the calls, which have a file each
FIRST_SENTENCE = re.compile(r".+?(?<![.\s])\.(?=\s+[^\d\s]|$)")  # neither "et al. 2024" nor "0, 1, ..." ends one

INTRODUCTION = """# Public names

All that `statescope` and its subjects export, with the first sentence of what `help(NAME)` says. `from statescope import NAME`
finds each of them, and `from statescope.SUBJECT import NAME` says where it belongs. A call of `statescope.kernels` stands in a
file of its name: `from statescope.kernels.gate_loop import gate_loop`.
"""


def public_names() -> Iterator[tuple[str, str, Any]]:
    """(module, name, what it names) of all that is exported, module by module."""
    top = import_module(ROOT)
    for name in sorted(set(dir(top)) - {*top.SUBJECTS, "__version__"}):
        yield ROOT, name, getattr(top, name)
    for subject in top.SUBJECTS:
        module = import_module(f"{ROOT}.{subject}")
        for name in sorted(module.__all__, key=str.lower):
            yield module.__name__, name, getattr(module, name)
    for name, call in _calls():
        yield f"{ROOT}.kernels", name, call
    parts = vars(import_module(PARTS)).items()
    for name, part in sorted((name, part) for name, part in parts if getattr(part, "__module__", "") == PARTS and name[0] != "_"):
        yield PARTS, name, part


def sentence_of(thing: Any) -> str:
    """The first sentence that is written of a public thing; of a hook or several, which they are; of a choice, its values."""
    match thing:
        case Point():
            return f"The hook {thing.name}: {thing.holds}."
        case tuple() if all(isinstance(point, Point) for point in thing):
            return f"The hooks {', '.join(point.name for point in thing)}."
        case _ if inspect.isroutine(thing) or inspect.isclass(thing):
            return first_sentence(thing.__doc__ or "")
        case _ if get_origin(thing) is Literal:
            return f"One of {', '.join(map(repr, get_args(thing)))}."
        case _ if get_args(thing):
            return f"Another name for {thing}."
    return f"A {type(thing).__name__}. {first_sentence(type(thing).__doc__ or '')}"


def first_sentence(text: str) -> str:
    """The first sentence of a docstring on one line; an empty text has none."""
    paragraph = " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
    found = FIRST_SENTENCE.match(paragraph)
    return (found[0] if found else paragraph).removesuffix(":")


def reference_page() -> str:
    """Write the page of all public names, in Markdown."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for module, name, thing in public_names():
        rows.setdefault(module, []).append((f"`{name}`", sentence_of(thing).replace("|", "\\|")))
    lines = [INTRODUCTION]
    for module, own in rows.items():
        lines += [f"## {module}\n", *markdown_table(("name", "what it is"), own), ""]
    return "\n".join(lines)


def _calls() -> Iterator[tuple[str, Any]]:
    """The calls of `statescope.kernels`: what has the name of its file."""
    for path in sorted((Path(__file__).parents[1] / "kernels").glob("*.py")):
        call = getattr(import_module(f"{ROOT}.kernels.{path.stem}"), path.stem, None)
        if inspect.isroutine(call):
            yield path.stem, call


if __name__ == "__main__":
    sys.stdout.write(reference_page())
