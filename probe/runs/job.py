"""A piece of work of a run that can be done here or elsewhere: a function by its name, and inputs by theirs.

A function stands in a module, or is a method of a study (whose settings then are an input too). An input is a setting, or a
thing in the run: a model that was trained in it, the losses of its training, a capture, a result, a direction, the run itself.
So a job is a few names and numbers, whoever does it finds the things in the run's folder, and the same job gives the same
results.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from ..configuration import Configuration
from ..errors import StatescopeError
from ..plugins import import_file, own_files

if TYPE_CHECKING:
    from ..models.config import ModelConfig
    from ..results.result import Result
    from .checkpoint import Checkpoints


class UnnamedWorkError(StatescopeError, TypeError):
    """A function or an input that has no name by which another process would find it; the text says what to give instead."""


class WrongResultsError(StatescopeError, ValueError):
    """A function gave other results than those it was asked for."""


class Holder(Protocol):
    """What holds things under names: a run."""

    def checkpoints(self, label: str) -> Checkpoints: ...

    def open_capture(self, name: str) -> Any: ...

    def result(self, name: str) -> Any: ...

    def direction(self, name: str) -> Any: ...

    def opened(self, stored: InRun) -> Any: ...


@dataclass(frozen=True)
class InRun:
    """Base of the names of things in a run."""

    @abstractmethod
    def open(self, run: Holder) -> Any:
        """The thing itself, read from the run's folder; its files are compared with their digests."""


@dataclass(frozen=True)
class ThisRun(InRun):
    """The run, for work that reports its progress or keeps directions."""

    def open(self, run: Holder) -> Holder:
        return run


@dataclass(frozen=True)
class StoredModel(InRun):
    """A model trained in the run, as its last checkpoint has it."""

    label: str
    config: ModelConfig

    def open(self, run: Holder) -> Any:
        from ..models.model import Model

        model = Model(self.config)
        run.checkpoints(self.label).restore(model)
        return model.eval()


@dataclass(frozen=True)
class StoredHistory(InRun):
    """The losses of a training in the run."""

    label: str

    def open(self, run: Holder) -> Any:
        return run.checkpoints(self.label).progress()


@dataclass(frozen=True)
class StoredCapture(InRun):
    """A capture that is stored in the run."""

    name: str

    def open(self, run: Holder) -> Any:
        return run.open_capture(self.name)


@dataclass(frozen=True)
class StoredResult(InRun):
    """A result that is stored in the run."""

    name: str

    def open(self, run: Holder) -> Any:
        return run.result(self.name)


@dataclass(frozen=True)
class StoredDirection(InRun):
    """A direction that is kept in the run."""

    name: str

    def open(self, run: Holder) -> Any:
        return run.direction(self.name)


@dataclass(frozen=True)
class Job:
    """Work that gives the results `names`.

    module, function: where the function is, such as "my_package.studies" and "Sweep.table". inputs: by the function's parameters;
    settings, and names of things in the run, in any nesting of lists, tuples and dicts. files: all of the user's own that were
    imported where the job was made; the function, its inputs and what it looks up by kind may stand in any of them. Where a job
    is unpacked in another process, they are imported before its inputs are.
    """

    names: tuple[str, ...]
    module: str
    function: str
    inputs: Mapping[str, Any]
    files: tuple[Path, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _knowing, (self.files,), vars(self)

    @classmethod
    def of(cls, names: tuple[str, ...], function: Callable[..., Any], inputs: Mapping[str, Any], named: Named) -> Job:
        """Describe work as a job. named: gives the name of an object of the run, or None. Raises UnnamedWorkError."""
        own = getattr(function, "__self__", None)
        module, path = getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "?")
        given = dict(inputs)
        if isinstance(function, MethodType) and isinstance(own, Configuration):
            given, function = {"self": own, **given}, function.__func__
        if _find(module, path) != function:
            raise UnnamedWorkError(
                f"{path} of {module} cannot be found by its name: give a function that stands in a module, or a method of the "
                "study, and what it needs as inputs; a lambda or a function inside a function sees what no other process does"
            )
        return cls(names, module, path, {name: _name(value, named, name) for name, value in given.items()}, tuple(own_files()))

    def perform(self, run: Holder) -> dict[str, Result]:
        """Do the work: the results by name. Raises WrongResultsError where the function gives others."""
        function = _find(self.module, self.function)
        found = function(**{name: _open(value, run) for name, value in self.inputs.items()})
        results = dict(found) if isinstance(found, Mapping) else {self.names[0]: found}
        if set(results) != set(self.names):
            raise WrongResultsError(f"{self.function} gave the results {sorted(results)}, and not {sorted(self.names)}")
        return {name: results[name] for name in self.names}


Named = Callable[[Any], InRun | None]


def _knowing(files: Sequence[Path]) -> Job:
    """A job that is still empty, in a process that has imported the user's files: the classes of its inputs are found there."""
    for file in files:
        import_file(file)
    return object.__new__(Job)


def _find(module: str, path: str) -> Any:
    """What stands under a dotted path in a module; None where nothing does."""
    found: Any = import_module(module) if module else None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _name(value: Any, named: Named, path: str) -> Any:
    """An input as settings and names of things in the run."""
    known = named(value)
    if known is not None:
        return known
    if value is None or isinstance(value, bool | int | float | str | Configuration | InRun):
        return value
    if isinstance(value, Mapping):
        return {key: _name(item, named, f"{path}[{key!r}]") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_name(item, named, f"{path}[{index}]") for index, item in enumerate(value))
    raise UnnamedWorkError(
        f"the input {path} is a {type(value).__name__} that this run does not know: give what run.train, run.capture or "
        "run.compute gave, or the settings from which the function makes it, such as a task, a seed and a length"
    )


def _open(value: Any, run: Holder) -> Any:
    if isinstance(value, InRun):
        return run.opened(value)
    if isinstance(value, Mapping):
        return {key: _open(item, run) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_open(item, run) for item in value)
    return value
