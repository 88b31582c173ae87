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

import hashlib
import sys
import textwrap
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from .declarations import declarations, plugin_modules
from .errors import StatescopeError, unknown_name
from .files import is_file


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
    def kind_name(cls) -> str:
        """The kind as texts have it; the name of the class, where it has none."""
        return getattr(cls, "kind", cls.__name__)

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        """The class of a kind, imported if it has not been.

        Raises UnknownNameError with the nearest name, DuplicateKindError where two packages claim the kind, and
        BrokenPluginError where its module cannot be imported.
        """
        places = [declaration for declaration in declarations(cls.family) if declaration.kind == kind]
        claims = {f"{place.module}.{place.name}" for place in places} | {
            _place(cls.known[kind]) for _ in range(kind in cls.known)
        }
        if len(claims) > 1:
            raise _duplicate(cls.family, kind, *sorted(claims)[:2])
        if kind not in cls.known:
            for place in places:
                _import(place.module)
        if kind not in cls.known:
            broken = _import_plugins()  # the class may be made where no class statement says so
        if kind not in cls.known:
            error = unknown_name(cls.family, kind, cls.kinds())
            own = "a part of your own is known once its file is imported: name it behind --plugins on the command line"
            raise type(error)("; ".join([str(error), own, *broken]))
        return cls.known[kind]

    @classmethod
    def kinds(cls) -> list[str]:
        """The names of all kinds there are, in our folders, in installed packages and in what has been imported."""
        return list(dict.fromkeys([*(declaration.kind for declaration in declarations(cls.family)), *cls.known]))


def module_name(path: Path) -> str:
    """Under which name a file of the user's own is imported: no other module has it, whatever the file is called."""
    path = path.resolve()
    return f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def own_files() -> list[Path]:
    """The files of the user's own that `import_file` has imported, in that order: what another process has to import too."""
    files = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items()]
    places = [(name, Path(file)) for name, file in files if file]
    return [path for name, path in places if name.startswith(f"{path.stem}_") and name == module_name(path)]


def import_file(path: Path) -> ModuleType:
    """A Python file of the user's own as a module, imported once. Raises BrokenPluginError where that fails, or ends the process;
    then it is no module, and is imported anew when it is named again.

    What lies beside the file can be imported by it. One file is one module, whether it is named here or imported by another:
    its classes are there once. The user names the file; never give a path that was read from another file.
    """
    path = path.resolve()
    name = module_name(path)
    found = sys.modules.get(name) or _imported_by_another(path)
    if found is not None:
        return found
    if not is_file(path):
        raise BrokenPluginError(f"{path} is not there, or is no file")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPluginError(f"{path} is no Python file")
    module = module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    if _OwnFiles not in sys.meta_path:
        sys.meta_path.insert(0, _OwnFiles)
    try:
        spec.loader.exec_module(module)
        _refuse_taken_names(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, StatescopeError) or not isinstance(error, Exception | SystemExit):
            raise
        fix = '; what it does as a script belongs behind if __name__ == "__main__"' if isinstance(error, SystemExit) else ""
        raise BrokenPluginError(f"{path} cannot be imported: {_with_line(error, str(path))}{fix}") from error
    return module


def _imported_by_another(path: Path) -> ModuleType | None:
    """The module of a file that was imported by its plain name; None where none was."""
    found = sys.modules.get(path.stem)
    place = getattr(found, "__file__", None)
    return found if place is not None and Path(place).resolve() == path else None


class _OwnFiles:
    """Finds, for an import by its plain name, the module of a file that `import_file` has imported."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if path is not None or not any(module.startswith(f"{name}_") for module in tuple(sys.modules)):
            return None
        spec = PathFinder.find_spec(name)
        if spec is None or spec.origin is None:
            return None
        module = sys.modules.get(module_name(Path(spec.origin)))
        return None if module is None else spec_from_loader(name, _Imported(module))


class _Imported(Loader):
    """Gives a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # of its own file


def _refuse_taken_names(module: ModuleType) -> None:
    """Raise DuplicateKindError where a class of a file has the kind of one in our folders or an installed package."""
    for kind in list(vars(module).values()):
        if isinstance(kind, type) and issubclass(kind, Kinds) and kind.__module__ == module.__name__ and "kind" in vars(kind):
            try:
                kind.of_kind(kind.kind)
            except DuplicateKindError:
                del kind.known[kind.kind]
                raise


def _import_plugins() -> list[str]:
    """Import what installed packages offer; what cannot be imported is told."""
    broken = []
    for module in plugin_modules():
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
    except (Exception, SystemExit) as error:
        raise BrokenPluginError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


def _place(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _duplicate(family: str, kind: str, first: str, second: str) -> DuplicateKindError:
    return DuplicateKindError(
        f"the {family} {kind!r} is declared by {first} and by {second}; rename one, or uninstall its package"
    )


def _with_line(error: BaseException, file: str) -> str:
    """An error with the line of a file it came through."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    where = f"line {lines[-1]}: " if lines else ""
    return textwrap.shorten(f"{where}{type(error).__name__}: {error}", 500)
