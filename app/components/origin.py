"""Where a result on a page comes from, for its files: a run, or a model and a text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...probe.runs.provenance import provenance_of
from ...probe.runs.run import Run


class Origin:
    """Base of the origins."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name, as part of files' names."""

    @abstractmethod
    def provenance(self, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """What a reader needs to make a result again, as JSON. where: the selection that is drawn. more: what else is known."""

    @abstractmethod
    def code(self, name: str, where: Mapping[str, Any]) -> str:
        """Lines of Python that draw a result again."""


def arguments_of(where: Mapping[str, Any]) -> str:
    """A selection as arguments of a call."""
    return ", ".join(f"{key}={value!r}" for key, value in where.items())


@dataclass(frozen=True)
class OfRun(Origin):
    """A result that a run keeps."""

    run: Run

    @property
    def name(self) -> str:
        return self.run.path.name

    def provenance(self, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return provenance_of(self.run, name, where, **more)

    def code(self, name: str, where: Mapping[str, Any]) -> str:
        return (
            "from statescope import Run\n\n"
            f"result = Run({str(self.run.path)!r}).result({name!r})\n"
            f"result.figure({arguments_of(where)}).show()\n"
            "result.to_frame()"
        )
