"""Errors a user can act on. Their text names what was found and what to do; a command line shows it without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_NAME = 120


class StatescopeError(Exception):
    """Base of the errors whose text is all a user needs."""


class UnknownNameError(StatescopeError, KeyError, ValueError):
    """A name that is not in a list of known ones. Its text names the kind, the name, the nearest match and the list."""

    def __str__(self) -> str:
        return str(self.args[0])


class LayerError(StatescopeError, IndexError, KeyError):
    """A layer number that the model does not have. A KeyError too, since transformer-lens's caches raise that."""

    def __str__(self) -> str:
        return str(self.args[0])


class NotEnoughMemoryError(StatescopeError, MemoryError):
    """What is asked for does not fit into the memory that it may take. Its text says how much it takes and what would fit."""


class MissingPackageError(StatescopeError, ImportError):
    """A package that one thing needs and that is not installed. Its text says the command that installs it."""


class CannotFitError(StatescopeError, ValueError):
    """These samples cannot be fitted, such as fewer groups than folds; the text says why."""


def other_version(found: object, newest: int) -> str:
    """What to say of a file whose schema version is not one that is read here; `newest` is the newest that is."""
    if type(found) is int and found > newest:
        return f"schema version {found} is of a newer statescope, and this one reads {newest}: update statescope to read it"
    shown = f"{found:.40}" if isinstance(found, str) else found if type(found) is int else "missing"
    return f"schema version {shown}, this program reads {newest}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error to raise for an unknown `name` of a `kind` ("mixer", "hook", "field", ...)."""
    names = list(known)
    name = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:12]) + (f", and {len(names) - 12} more" if len(names) > 12 else "")
    return UnknownNameError(f"{kind} {name!r} is not known{hint} (known: {shown or 'none'})")
