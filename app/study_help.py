"""The help of a study, from its source: what can be set is shown without importing what it takes to run it."""

from __future__ import annotations

from ..probe.declarations import declarations, settings
from ..probe.runs.study import Study

PLACES = {
    "Count": "INT",
    "Natural": "INT",
    "int": "INT",
    "Positive": "FLOAT",
    "NotNegative": "FLOAT",
    "Share": "FLOAT",
    "float": "FLOAT",
    "Lengths": "INT ...",
    "tuple[int, ...]": "INT ...",
    "tuple[float, ...]": "FLOAT ...",
    "tuple[str, ...]": "TEXT ...",
    "str": "TEXT",
    "str | None": "TEXT",
}


def study_help(name: str, options: str) -> str | None:
    """The text for `statescope run NAME --help`; None where no class statement has the name."""
    found = [declaration for declaration in declarations(Study.family) if declaration.kind == name]
    if len(found) != 1:
        return None
    said = found[0].constants
    question = said.get("question") or said.get("statement") or said["__doc__"]
    lines = [f"usage: statescope run {name} [settings]", "", question, "", options.format(run=f"{name}-seed0"), "", "settings:"]
    rows = [(_flag(one.path), _place(one.path, one.type), one.text, one.default) for one in settings(found[0])]
    width = max(len(f"{flag} {place}") for flag, place, *_ in rows)
    for flag, place, text, default in rows:
        given = "" if default is None else f"(default: {default})"
        lines.append(f"  {flag} {place}".ljust(width + 4) + " ".join(filter(None, (text, given))))
    return "\n".join(lines)


def _flag(path: str) -> str:
    return "--" + path.replace("_", "-")


def _place(path: str, type_text: str) -> str:
    """What stands behind a flag; of `Annotated[int, Range(least=16)]` the range is told when a value does not fit. The seeds are
    one word whether a study has a setting of them or not.
    """
    if path == "seeds":
        return "0..4"
    bare = type_text.removeprefix("Annotated[").rpartition(", ")[0] if type_text.startswith("Annotated[") else type_text
    return PLACES.get(bare, bare)
