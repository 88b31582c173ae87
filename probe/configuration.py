"""Configurations as frozen dataclasses: how their fields are checked, and their plain form for TOML and JSON.

A configuration that comes in several kinds (a mixer, a task) derives from a base made with `Kinds`: in the plain form its
table holds `kind = "..."`. Reading is strict: an unknown field, a missing one, a value of the wrong type or outside its range
is an error that names the path to it. The same rules hold where an object is made in Python, if its class is a `Configuration`.

A field says its range in its type, which flags, files and Python then share:

    steps: Count = 300                                   # at least 1
    clip: Positive = 1.0                                 # more than 0
    level: Annotated[float, Range(0, 1)] = 0.95

NaN and infinity are never a setting, nor is a whole number that 64 bits do not hold.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from .errors import StatescopeError, unknown_name
from .plugins import Kinds

T = TypeVar("T")
DEEPEST = 32
LARGEST = 2**63 - 1


class BadSettingError(StatescopeError, TypeError, ValueError):
    """A setting of the wrong type, outside its range, or that does not fit the others; the text names the path to it."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number, as metadata of a field's type: least <= x <= most, and above < x."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def complaint(self, value: float) -> str | None:
        """What is wrong with a value, or None."""
        if self.least is not None and value < self.least:
            return f"must be at least {self.least:g}, got {value}"
        if self.most is not None and value > self.most:
            return f"must be at most {self.most:g}, got {value}"
        if self.above is not None and value <= self.above:
            return f"must be more than {self.above:g}, got {value}"
        return None


@dataclass(frozen=True)
class NotEmpty:
    """Says, as metadata of the type of a tuple or a text, that it must not be empty."""

    def complaint(self, value: typing.Sized) -> str | None:
        """What is wrong with a value, or None."""
        return None if len(value) else "must not be empty"


Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Folds = Annotated[int, Range(least=2)]  # of a cross-validation: one would leave nothing to fit
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(0, 1)]
Lengths = Annotated[tuple[Count, ...], NotEmpty()]


class Configuration:
    """Base of the frozen dataclasses that hold settings: no object is made whose fields are not what their types say.

    Fields are read as from a file: a list becomes a tuple, a whole number a float where one is wanted, the name of a kind the
    kind with its defaults. Then `__post_init__` of the class, if it has one, looks at how the fields fit each other. Raises
    BadSettingError or UnknownNameError naming class and field.
    """

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        own = cls.__dict__.get("__post_init__")
        if own is not None:  # checked first, without a word from the class

            @functools.wraps(own)
            def checked(self: Configuration) -> None:
                read_fields(self)
                own(self)

            cls.__post_init__ = checked  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        read_fields(self)


def read_fields(configuration: Any) -> None:
    """Put each field of a configuration through the reader of its type."""
    for name, wanted in field_types(type(configuration)).items():
        given = getattr(configuration, name)
        read = _read(wanted, given, None, f"{type(configuration).__name__}.{name}")
        if read is not given:
            object.__setattr__(configuration, name, read)


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
    field or kind, BadSettingError for a value that does not fit, each naming the path such as "models.small.width".
    """
    if _depth(plain) > DEEPEST:
        raise BadSettingError(f"{path or wanted.__name__} is nested more than {DEEPEST} deep")
    return typing.cast(T, _read(wanted, plain, base, path))


def _depth(plain: Any) -> int:
    """How deep tables and lists lie in each other, counted to DEEPEST + 1."""
    depth, level = 0, [plain]
    while level and depth <= DEEPEST:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, tuple | list):
                inner.extend(item)
        depth, level = depth + bool(inner), inner
    return depth


def _read(wanted: Any, plain: Any, base: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        found = _read(arguments[0], plain, base, path)
        complaints = [rule.complaint(found) for rule in arguments[1:] if isinstance(rule, Range | NotEmpty) and found is not None]
        for complaint in filter(None, complaints):
            raise BadSettingError(f"{path} {complaint}")
        return found
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, plain, base, path)
    if origin is typing.Literal:
        for argument in arguments:
            if type(argument) is type(plain) and argument == plain:
                return plain
        raise unknown_name(path, plain[:80] if isinstance(plain, str) else _shown(plain), map(str, arguments))
    if origin is tuple:
        return _read_tuple(arguments, plain, path)
    if origin in (dict, Mapping):
        if not isinstance(plain, Mapping):
            raise _wrong(path, "a table", plain)
        old = base or {}
        return {**old, **{str(key): _read(arguments[1], item, old.get(key), _join(path, key)) for key, item in plain.items()}}
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
            except StatescopeError as error:
                failures.append(error)
    raise failures[-1] if len(failures) == 1 else next((f for f in failures if isinstance(f, KeyError)), failures[-1])


def _read_tuple(arguments: tuple[Any, ...], plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list | tuple):
        raise _wrong(path, "a list", plain)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, None, f"{path}[{index}]") for index, item in enumerate(plain))
    if len(plain) != len(arguments):
        raise BadSettingError(f"{path} needs {len(arguments)} values, got {len(plain)}")
    return tuple(
        _read(kind, item, None, f"{path}[{index}]") for index, (kind, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _read_dataclass(wanted: type[Any], plain: Any, base: Any, path: str) -> Any:
    if isinstance(plain, wanted):
        return plain
    if issubclass(wanted, Kinds) and isinstance(plain, str):
        plain = {"kind": plain}
    if not isinstance(plain, Mapping):
        raise _wrong(path or wanted.__name__, "a table of fields", plain)
    given = {str(name): item for name, item in plain.items()}
    if issubclass(wanted, Kinds):
        kind = given.pop("kind", base.kind if base is not None else getattr(wanted, "kind", None))
        if kind is None:
            raise BadSettingError(f"{path or wanted.__name__} needs a kind; one of {', '.join(wanted.kinds())}")
        wanted = _kind_of(wanted, kind, path)
        base = base if type(base) is wanted else None
    hints = field_types(wanted)
    for name in given:
        if name not in hints:
            raise unknown_name(f"field of {path or wanted.__name__}", name, hints)
    values = {name: _read(hints[name], item, getattr(base, name, None), _join(path, name)) for name, item in given.items()}
    missing = [f.name for f in dataclasses.fields(wanted) if f.name not in values and is_required(f)]
    if missing and base is None:
        raise BadSettingError(f"{path or wanted.__name__} needs {', '.join(missing)}")
    try:
        return wanted(**values) if base is None else dataclasses.replace(base, **values)
    except StatescopeError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:  # fields that do not fit each other
        raise BadSettingError(f"{path}: {error}" if path else str(error)) from error


def _kind_of(wanted: type[Any], kind: Any, path: str) -> type[Any]:
    if not isinstance(kind, str):
        raise _wrong(_join(path, "kind"), "a name", kind)
    found = wanted.of_kind(kind)
    if not issubclass(found, wanted):
        raise BadSettingError(f"{path or wanted.__name__} needs a {wanted.__name__}; {kind!r} is none")
    return found


def _read_scalar(wanted: Any, plain: Any, path: str) -> Any:
    if wanted is Any or not isinstance(wanted, type):  # a callable, a type variable: no test by type
        return plain
    if wanted is float and isinstance(plain, numbers.Real) and not isinstance(plain, bool):
        return _read_float(plain, path)
    if wanted is int and isinstance(plain, numbers.Integral) and not isinstance(plain, bool):
        whole = int(plain)
        if abs(whole) > LARGEST:
            raise BadSettingError(f"{path} must lie within ±{LARGEST}")
        return whole
    if wanted is object or (isinstance(plain, wanted) and not (isinstance(plain, bool) and wanted is int)):
        return plain
    raise _wrong(path, wanted.__name__, plain)


def _read_float(plain: Any, path: str) -> float:
    try:
        value = plain if type(plain) is float else float(plain)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise BadSettingError(f"{path} must be a finite number, got {value}")
    return value


def _wrong(path: str, wanted: str, plain: Any) -> BadSettingError:
    return BadSettingError(f"{path} needs {wanted}, got {_shown(plain)}")


def _shown(plain: Any) -> str:
    """A value in an error's text: short, and whatever it is."""
    try:
        text = repr(plain)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits have no decimal text
        return f"a {type(plain).__name__}"
    return text if len(text) < 200 else text[:200] + "..."


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def field_types(wanted: type[Any]) -> dict[str, Any]:
    """The resolved types of a dataclass's fields, in order, with their metadata."""
    return _field_types(wanted)  # type: ignore[arg-type]


@functools.cache
def _field_types(wanted: Hashable) -> dict[str, Any]:
    wanted = typing.cast(type, wanted)
    hints = typing.get_type_hints(wanted, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(wanted)}
