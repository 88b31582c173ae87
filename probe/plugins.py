"""Parts that come in kinds: mixers, tasks, studies, results, and whatever else has a base made with `Kinds`.

A part is a class that names its kind. Our own folders and installed packages are searched in the same way, and nowhere does a
list have to name a new part. A package offers its parts by an entry point of the group `statescope.plugins`, whose value is a
package or a module:

    [project.entry-points."statescope.plugins"]
    mine = "my_package.parts"

The search reads class statements as text: what kinds there are is known without importing anything, and the module of a kind is
imported when the kind is asked for. Names that are searched for may come from files; the modules that are imported never do.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from .errors import StatescopeError, unknown_name

GROUP = "statescope.plugins"
ROOMS = ("probe", "analyses", "app")
_CLASS = re.compile(r"^class\s+\w+\s*\(.*?\)\s*:", re.MULTILINE | re.DOTALL)


class DuplicateKindError(StatescopeError, TypeError):
    """Two classes claim one kind of one family; the text names both."""


class BrokenPluginError(StatescopeError, ImportError):
    """A file or an installed package that should hold parts cannot be imported; the text names it and the error."""


class Kinds:
    """Base of a family of classes, each with a `kind`: `class Task(Kinds, family="task")`, and then subclasses with
    `kind="parity"`.

    known: the classes that have been imported, by kind. `kinds` and `of_kind` also find those that have not. A second class of
    one kind is refused with DuplicateKindError; the same statement run again (a reloaded module, a notebook's cell) replaces the
    first.
    """

    family: ClassVar[str]
    kind: ClassVar[str]
    known: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, *, family: str | None = None, kind: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if family is not None:
            cls.family, cls.known = family, {}
        if kind is not None:
            other = cls.known.get(kind)
            if other is not None and _place(other) != _place(cls):
                raise _duplicate(cls.family, kind, _place(other), _place(cls))
            cls.kind = kind
            cls.known[kind] = cls

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        """The class of a kind, imported if it has not been.

        Raises UnknownNameError with the nearest name, DuplicateKindError where two packages claim the kind, and
        BrokenPluginError where its module cannot be imported.
        """
        places = [declaration for declaration in declarations(cls.family) if declaration.kind == kind]
        if len({(place.module, place.name) for place in places}) > 1:
            raise _duplicate(cls.family, kind, *(f"{place.module}.{place.name}" for place in places[:2]))
        if kind not in cls.known:
            for place in places:
                _import(place.module)
        if kind not in cls.known:
            broken = _import_plugins()  # the class may be made where no class statement says so
        if kind not in cls.known:
            error = unknown_name(cls.family, kind, cls.kinds())
            raise type(error)("; ".join([str(error), *broken]))
        return cls.known[kind]

    @classmethod
    def kinds(cls) -> list[str]:
        """The names of all kinds there are, in our folders, in installed packages and in what has been imported."""
        return list(dict.fromkeys([*(declaration.kind for declaration in declarations(cls.family)), *cls.known]))


@dataclass(frozen=True)
class Declaration:
    """A class statement that names a kind, as its source says it.

    module, name: where the class is. source: its file, of which `constants` reads the rest.
    """

    kind: str
    module: str
    name: str
    source: Path

    @property
    def constants(self) -> dict[str, Any]:
        """The literal attributes of the class (`question: ClassVar[str] = "..."`) and its docstring as "__doc__"."""
        tree = ast.parse(self.source.read_text("utf-8"))
        found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == self.name)
        values: dict[str, Any] = {"__doc__": ast.get_docstring(found) or ""}
        for node in found.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                try:
                    values[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    continue
        return values


@dataclass(frozen=True)
class _Statement:
    """A class statement: its keywords that are strings, and the last parts of its bases' names."""

    module: str
    name: str
    source: Path
    bases: tuple[str, ...]
    keywords: Mapping[str, str]


def declarations(family: str) -> tuple[Declaration, ...]:
    """The class statements of a family in our rooms and in installed packages; nothing is imported."""
    return _search().get(family, ())


def import_file(path: Path) -> ModuleType:
    """A Python file of the user's own as a module, imported once. Raises BrokenPluginError where that fails.

    What lies beside the file can be imported by it. The user names the file; never give a path that was read from another file.
    """
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPluginError(f"{path} is no Python file")
    module = module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except StatescopeError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise BrokenPluginError(f"{path} cannot be imported: {_with_line(error, str(path))}") from error
    return module


def forget() -> None:
    """Search again at the next question: packages were installed, or files changed, since the last."""
    for cached in (_search, _plugin_modules):
        cached.cache_clear()


@cache
def _search() -> dict[str, tuple[Declaration, ...]]:
    """Family -> its declarations."""
    statements = list(_statements())
    by_name: dict[str, list[_Statement]] = {}
    for statement in statements:
        by_name.setdefault(statement.name, []).append(statement)

    def families(statement: _Statement, seen: tuple[str, ...] = ()) -> set[str]:
        if "family" in statement.keywords:
            return {statement.keywords["family"]}
        bases = [base for base in statement.bases if base not in seen]
        return set().union(*(families(one, (*seen, base)) for base in bases for one in by_name.get(base, ())))

    found: dict[str, list[Declaration]] = {}
    for one in statements:
        if "kind" in one.keywords:
            for family in families(one):
                found.setdefault(family, []).append(Declaration(one.keywords["kind"], one.module, one.name, one.source))
    return {family: tuple(own) for family, own in found.items()}


def _statements() -> Iterator[_Statement]:
    root = Path(__file__).resolve().parents[1]
    package = __name__.removesuffix(".probe.plugins")
    for room in ROOMS:
        yield from _read_folder(root / room, f"{package}.{room}")
    for module in _plugin_modules():
        place = _locate(module)
        if place is None:
            continue
        if place.name == "__init__.py":
            yield from _read_folder(place.parent, module)
        else:
            yield from _read_file(place, module)


@cache
def _plugin_modules() -> tuple[str, ...]:
    """The modules that installed packages offer."""
    return tuple(sorted({point.module for point in entry_points(group=GROUP)}))


def _locate(module: str) -> Path | None:
    """The file of a module, found without importing it or its package."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    for depth in range(len(parts)):
        if spec is not None:
            name = ".".join([top, *parts[: depth + 1]])
            spec = PathFinder.find_spec(name, list(spec.submodule_search_locations or ()))
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


def _read_folder(folder: Path, package: str) -> Iterator[_Statement]:
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).with_suffix("").parts
        inside = inside[:-1] if inside[-1] == "__init__" else inside
        yield from _read_file(path, ".".join([package, *inside]))


def _read_file(path: Path, module: str) -> Iterator[_Statement]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for header in _CLASS.finditer(text):
        try:
            (node,) = ast.parse(f"{header.group()} ...").body
        except (SyntaxError, ValueError):
            continue
        if isinstance(node, ast.ClassDef):
            yield _Statement(module, node.name, path, tuple(filter(None, map(_last_name, node.bases))), _strings(node))


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _strings(node: ast.ClassDef) -> dict[str, str]:
    return {
        keyword.arg: keyword.value.value
        for keyword in node.keywords
        if keyword.arg is not None and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def _import_plugins() -> list[str]:
    """Import what installed packages offer; what cannot be imported is told."""
    broken = []
    for module in _plugin_modules():
        try:
            _import(module)
        except StatescopeError as error:
            broken.append(str(error))
    return broken


def _import(module: str) -> None:
    try:
        import_module(module)
    except StatescopeError:
        raise
    except Exception as error:
        raise BrokenPluginError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


def _place(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _duplicate(family: str, kind: str, first: str, second: str) -> DuplicateKindError:
    return DuplicateKindError(
        f"the {family} {kind!r} is declared by {first} and by {second}; rename one, or uninstall its package"
    )


def _with_line(error: Exception, file: str) -> str:
    """An error with the line of a file it came through."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    where = f"line {lines[-1]}: " if lines else ""
    return textwrap.shorten(f"{where}{type(error).__name__}: {error}", 500)
