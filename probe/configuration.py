"""Configurations as frozen dataclasses, and their plain form for TOML and JSON.

A configuration that comes in several kinds (a mixer, a task) derives from a base made with `Kinds`: in the plain form its
table holds `kind = "..."`. Reading is strict: an unknown field, a missing one or a value of the wrong type is an error that
names the path to it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from .errors import unknown_name
from .plugins import import_own

T = TypeVar("T")


class Kinds:
    """Base of a family of configurations, each with a `kind`: `class Mixer(Kinds, family="mixer")`, and then subclasses
    with `kind="delta_net"`.
    """

    family: ClassVar[str]
    kind: ClassVar[str]
    known: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, *, family: str | None = None, kind: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if family is not None:
            cls.family, cls.known = family, {}
        if kind is not None:
            cls.kind = kind
            cls.known[kind] = cls

    @classmethod
    def of_kind(cls, kind: str) -> type[Any]:
        """The class of a kind; a kind of this package is found without its module having been imported before.

        Raises UnknownNameError with the nearest name. A kind is only ever compared: no part of it is a name to import.
        """
        if kind not in cls.known:
            import_own(kind)
        if kind not in cls.known:
            raise unknown_name(cls.family, kind, cls.known)
        return cls.known[kind]


def to_plain(value: Any) -> Any:
    """A configuration as dicts, lists, strings and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tag = {"kind": value.kind} if isinstance(value, Kinds) else {}
        return tag | {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(wanted: type[T], plain: Any, *, base: T | None = None, path: str = "") -> T:
    """A configuration of type `wanted` from its plain form.

    base: values for what `plain` leaves out; without it the fields' own defaults. Raises UnknownNameError for an unknown
    field or kind, TypeError or ValueError for a value that does not fit, each naming the path such as "models.small.width".
    """
    return typing.cast(T, _read(wanted, plain, base, path))


def _read(wanted: Any, plain: Any, base: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, plain, base, path)
    if origin is typing.Literal:
        if plain not in arguments:
            raise unknown_name(f"{path}: value", str(plain), map(str, arguments))
        return plain
    if origin is tuple:
        return _read_tuple(arguments, plain, path)
    if origin is dict:
        if not isinstance(plain, Mapping):
            raise TypeError(f"{path} needs a table, got {plain!r}")
        old = base or {}
        return {**old, **{key: _read(arguments[1], item, old.get(key), _join(path, key)) for key, item in plain.items()}}
    if dataclasses.is_dataclass(wanted):
        return _read_dataclass(typing.cast(type, wanted), plain, base, path)
    if isinstance(wanted, type) and issubclass(wanted, Kinds):
        return _read_dataclass(wanted, plain, base, path)
    return _read_scalar(wanted, plain, path)


def _read_union(options: tuple[Any, ...], plain: Any, base: Any, path: str) -> Any:
    if plain is None and type(None) in options:
        return None
    failures = []
    for option in options:
        if option is not type(None):
            try:
                return _read(option, plain, base, path)
            except (TypeError, ValueError, KeyError) as error:
                failures.append(error)
    raise failures[-1] if len(failures) == 1 else next((f for f in failures if isinstance(f, KeyError)), failures[-1])


def _read_tuple(arguments: tuple[Any, ...], plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list | tuple):
        raise TypeError(f"{path} needs a list, got {plain!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, None, f"{path}[{index}]") for index, item in enumerate(plain))
    if len(plain) != len(arguments):
        raise ValueError(f"{path} needs {len(arguments)} values, got {len(plain)}")
    return tuple(
        _read(kind, item, None, f"{path}[{index}]") for index, (kind, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _read_dataclass(wanted: type[Any], plain: Any, base: Any, path: str) -> Any:
    if isinstance(plain, wanted):
        return plain
    if issubclass(wanted, Kinds) and isinstance(plain, str):
        plain = {"kind": plain}
    if not isinstance(plain, Mapping):
        raise TypeError(f"{path or wanted.__name__} needs a table of fields, got {plain!r}")
    given = dict(plain)
    if issubclass(wanted, Kinds):
        kind = given.pop("kind", base.kind if base is not None else getattr(wanted, "kind", None))
        if kind is None:
            raise ValueError(f"{path or wanted.__name__} needs a kind; one of {', '.join(wanted.known)}")
        wanted = wanted.of_kind(str(kind))
        base = base if type(base) is wanted else None
    hints = field_types(wanted)
    for name in given:
        if name not in hints:
            raise unknown_name(f"field of {path or wanted.__name__}", name, hints)
    values = {name: _read(hints[name], item, getattr(base, name, None), _join(path, name)) for name, item in given.items()}
    if base is not None:
        return dataclasses.replace(base, **values)
    missing = [f.name for f in dataclasses.fields(wanted) if f.name not in values and is_required(f)]
    if missing:
        raise ValueError(f"{path or wanted.__name__} needs {', '.join(missing)}")
    return wanted(**values)


def _read_scalar(wanted: Any, plain: Any, path: str) -> Any:
    if wanted is Any:
        return plain
    if wanted is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, wanted) or (isinstance(plain, bool) and wanted is not bool):
        raise TypeError(f"{path} needs {wanted.__name__}, got {plain!r}")
    return plain


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def field_types(wanted: type[Any]) -> dict[str, Any]:
    """The resolved types of a dataclass's fields, in order."""
    hints = typing.get_type_hints(wanted)
    return {field.name: hints[field.name] for field in dataclasses.fields(wanted)}
