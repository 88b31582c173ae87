"""What class statements say of parts, read as text: which kinds there are is known without importing anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GROUP = "statescope.plugins"
COMPUTED = object()  # stands for what is known only when the class is imported
ROOMS = ("probe", "analyses", "app")
_CLASS = re.compile(r"^class\s+\w+\s*\(.*?\)\s*:", re.MULTILINE | re.DOTALL)
_IMPORT = re.compile(r"^from\s+(\.*)([\w.]*)\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_LAZY = re.compile(r'"(\w+)":\s*"(\.+)([\w.]*)"')  # as our own front page names what it imports when it is first used


@dataclass(frozen=True)
class Declaration:
    """A class statement that names a kind, as its source says it.

    module, name: where the class is. source: its file. bases: its own statement, then those it inherits from, the nearest first,
    up to the one that declares the family.
    """

    kind: str
    module: str
    name: str
    source: Path
    bases: tuple[Statement, ...]

    @cached_property
    def constants(self) -> Mapping[str, Any]:
        """The literal attributes that the class has or inherits (`question: ClassVar[str] = "..."`), and its docstring as
        "__doc__".
        """
        found = {name: value for base in reversed(self.bases) for name, value in base.attributes.items()}
        found["__doc__"] = self.bases[0].attributes["__doc__"]
        return {name: value for name, value in found.items() if value is not COMPUTED}

    def inherits_from(self, name: str) -> bool:
        """Whether a class of this name, with its module, is among the bases."""
        return name in {f"{base.module}.{base.name}" for base in self.bases[1:]}


@dataclass(frozen=True)
class Statement:
    """A class statement: its keywords that are strings, and the last parts of its bases' names."""

    module: str
    name: str
    source: Path
    bases: tuple[str, ...]
    keywords: Mapping[str, str]

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """Its own attributes, those that are no literal as COMPUTED, and its docstring as "__doc__".

        A file with an error of syntax says nothing here, so that it hides no other; importing it tells the error.
        """
        try:
            tree = ast.parse(self.source.read_text("utf-8"))
        except (SyntaxError, ValueError):
            return {"__doc__": ""}
        found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == self.name)
        values: dict[str, Any] = {"__doc__": ast.get_docstring(found) or ""}
        for target, value in _assignments(found):
            try:
                values[target] = ast.literal_eval(value)
            except ValueError:
                values[target] = COMPUTED
        return values


@dataclass(frozen=True)
class Source:
    """A module that is read as text, and not imported."""

    module: str
    path: Path
    text: str

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """Its class statements that have bases or keywords."""
        found = []
        for header in _CLASS.finditer(self.text):
            try:
                (node,) = ast.parse(f"{header.group()} ...").body
            except (SyntaxError, ValueError):
                continue
            if isinstance(node, ast.ClassDef):
                bases = tuple(filter(None, map(_last_name, node.bases)))
                found.append(Statement(self.module, node.name, self.path, bases, _strings(node)))
        return tuple(found)

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Each name that the module imports: its home module, and its name there."""
        found = {}
        for dots, rest, names in _IMPORT.findall(self.text):
            for one in names.strip("()").replace("\n", " ").split(","):
                words = one.split("#")[0].split()
                if words:
                    found[words[-1]] = self._absolute(dots, rest), words[0]
        for name, dots, rest in _LAZY.findall(self.text):
            found.setdefault(name, (self._absolute(dots, rest), name))
        return found

    @cached_property
    def starred(self) -> tuple[str, ...]:
        """The modules of which it imports every name, by `from ... import *`."""
        return tuple(
            self._absolute(dots, rest) for dots, rest, names in _IMPORT.findall(self.text) if names.split("#")[0].strip() == "*"
        )

    def _absolute(self, dots: str, rest: str) -> str:
        if not dots:
            return rest
        package = self.module.split(".") if self.path.name == "__init__.py" else self.module.split(".")[:-1]
        return ".".join([*package[: len(package) - len(dots) + 1], *([rest] if rest else [])])


def declarations(family: str) -> tuple[Declaration, ...]:
    """The class statements of a family in our rooms and in installed packages; nothing is imported."""
    return _search().get(family, ())


@cache
def plugin_modules() -> tuple[str, ...]:
    """The modules that installed packages offer."""
    return tuple(sorted({point.module for point in entry_points(group=GROUP)}))


def forget() -> None:
    """Search again at the next question: packages were installed, or files changed, since the last."""
    for cached in (_search, _index, plugin_modules):
        cached.cache_clear()


@dataclass(frozen=True)
class Setting:
    """A field of a configuration, as its source says it. path: such as "training.steps". default: as text, or None."""

    path: str
    type: str
    default: str | None
    text: str


def settings(declaration: Declaration) -> tuple[Setting, ...]:
    """The fields of a class and of the configurations in them, with their defaults, read as text."""
    found = [one for one in _index().by_name.get(declaration.name, ()) if one.module == declaration.module]
    return tuple(_settings(found[0], {}, "")) if found else ()


def _settings(statement: Statement, given: Mapping[str, str], path: str) -> Iterator[Setting]:
    for name, (home, annotation, default, text) in _fields(statement).items():
        nested = [one for one in _index().meant(annotation, home) if annotation.isidentifier() and _fields(one)]
        if nested:
            yield from _settings(nested[0], _keywords(default), f"{path}{name}.")
        else:
            shown = given.get(name, None if default is None else ast.unparse(default))
            yield Setting(path + name, annotation, shown, text)


def _fields(statement: Statement, hops: int = 8) -> dict[str, tuple[str, str, ast.expr | None, str]]:
    """Field -> the module of its class, its type, its default and its text; those of the bases first."""
    found: dict[str, tuple[str, str, ast.expr | None, str]] = {}
    for base in statement.bases if hops else ():
        for one in _index().meant(base, statement.module)[:1]:
            found |= _fields(one, hops - 1)
    tree = ast.parse(_index().sources[statement.module].text)
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == statement.name]
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotation, name = ast.unparse(node.annotation), node.target.id
            if not annotation.startswith("ClassVar"):
                text = following.value.value if _is_text(following) else found.get(name, ("", "", None, ""))[3]  # type: ignore[union-attr]
                found[name] = statement.module, annotation, node.value, str(text)
    return found


def _is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _keywords(default: ast.expr | None) -> dict[str, str]:
    """What `Training(steps=3)`, or a factory that returns that, gives by name."""
    calls = [node for node in ast.walk(default) if isinstance(node, ast.Call)] if default is not None else []
    inner = [call for call in calls if not (isinstance(call.func, ast.Name) and call.func.id == "field")]
    return {one.arg: ast.unparse(one.value) for one in inner[0].keywords if one.arg} if inner else {}


@dataclass(frozen=True)
class _Index:
    """All modules as text, and their class statements by name."""

    sources: Mapping[str, Source]
    by_name: Mapping[str, list[Statement]]

    def meant(self, name: str, module: str, hops: int = 8) -> list[Statement]:
        """The class statements that a name in a module stands for; all of that name, where the text does not tell."""
        own = [statement for statement in self.by_name.get(name, ()) if statement.module == module]
        if own or not hops:
            return own or list(self.by_name.get(name, ()))
        if module in self.sources and name in self.sources[module].imported:
            home, original = self.sources[module].imported[name]
            return self.meant(original, home, hops - 1)
        for home in self._handing_on(module):
            if self._has(name, home, hops - 1):
                return self.meant(name, home, hops - 1)
        return list(self.by_name.get(name, ()))

    def _has(self, name: str, module: str, hops: int) -> bool:
        """Whether a module says a name, or hands it on."""
        source = self.sources.get(module)
        if source is None or hops < 0:
            return False
        said = name in source.imported or any(statement.name == name for statement in source.statements)
        return said or any(self._has(name, home, hops - 1) for home in source.starred)

    def _handing_on(self, module: str) -> tuple[str, ...]:
        """The modules whose names are a module's too: those that it imports whole, and the subjects of the front page."""
        package = _package()
        front = module == package
        subjects = tuple(own for own in self.sources if front and own.rpartition(".")[0] == package)
        return subjects + (self.sources[module].starred if module in self.sources else ())


@cache
def _index() -> _Index:
    sources = {source.module: source for source in _sources()}
    by_name: dict[str, list[Statement]] = {}
    for source in sources.values():
        for statement in source.statements:
            by_name.setdefault(statement.name, []).append(statement)
    return _Index(sources, by_name)


@cache
def _search() -> dict[str, tuple[Declaration, ...]]:
    """Family -> its declarations."""
    index = _index()
    statements = [statement for source in index.sources.values() for statement in source.statements]

    def above(statement: Statement, seen: tuple[Statement, ...] = ()) -> tuple[Statement, ...]:
        """A class and those it inherits from, up to those that declare a family."""
        if statement in seen:
            return seen
        seen = (*seen, statement)
        for one in [] if "family" in statement.keywords else statement.bases:
            for base in index.meant(one, statement.module):
                seen = above(base, seen)
        return seen

    found: dict[str, list[Declaration]] = {}
    for one in statements:
        if "kind" in one.keywords:
            lineage = above(one)
            for family in sorted({base.keywords["family"] for base in lineage if "family" in base.keywords}):
                own = Declaration(one.keywords["kind"], one.module, one.name, one.source, lineage)
                found.setdefault(family, []).append(own)
    return {family: tuple(own) for family, own in found.items()}


def _package() -> str:
    return __name__.removesuffix(".probe.declarations")


def _sources() -> Iterator[Source]:
    root, package = Path(__file__).resolve().parents[1], _package()
    for path in sorted(root.glob("*.py")):
        yield from _read_file(path, package if path.name == "__init__.py" else f"{package}.{path.stem}")
    for room in ROOMS:
        yield from _read_folder(root / room, f"{package}.{room}")
    for module in plugin_modules():
        place = _locate(module)
        if place is None:
            continue
        if place.name == "__init__.py":
            yield from _read_folder(place.parent, module)
        else:
            yield from _read_file(place, module)


def _locate(module: str) -> Path | None:
    """The file of a module, found without importing it or its package."""
    top, *parts = module.split(".")
    spec = find_spec(top)
    for depth in range(len(parts)):
        if spec is not None:
            name = ".".join([top, *parts[: depth + 1]])
            spec = PathFinder.find_spec(name, list(spec.submodule_search_locations or ()))
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


def _read_folder(folder: Path, package: str) -> Iterator[Source]:
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).with_suffix("").parts
        inside = inside[:-1] if inside[-1] == "__init__" else inside
        yield from _read_file(path, ".".join([package, *inside]))


def _read_file(path: Path, module: str) -> Iterator[Source]:
    try:
        yield Source(module, path, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """The attributes that a class body sets, one by one also where a statement sets several: `paper, year = "P001", 2024`."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            pairs = _pairs(statement.target, statement.value)
        elif isinstance(statement, ast.Assign):
            pairs = [pair for target in statement.targets for pair in _pairs(target, statement.value)]
        else:
            continue
        yield from ((target.id, value) for target, value in pairs if isinstance(target, ast.Name))


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


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
