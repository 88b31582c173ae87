"""What a result says of how it was measured, with a clear word where another version said less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import StatescopeError


class OtherVersionError(StatescopeError, KeyError):
    """A stored result lacks what this version reads of it. A KeyError too, since it is a name that a mapping does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class About(dict[str, Any]):
    """The `about` of a result: a dict that raises OtherVersionError for a name it lacks, as those within it do.

    values: the names and what they stand for.
    source: the file that the result was read from; "" for one that was measured here.
    """

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), source: str = "") -> None:
        super().__init__(
            {name: About(value, source) if isinstance(value, dict) else value for name, value in dict(values).items()}
        )
        self.source = source

    def __missing__(self, name: str) -> Any:
        told = ", ".join(map(repr, self)) or "nothing"
        if not self.source:
            raise OtherVersionError(f"this result does not say {name!r} (it says {told}); measure it with this version")
        raise OtherVersionError(
            f"{self.source} does not say {name!r} (it says {told}), so another version of statescope wrote it: "
            "delete that file and run its study again, which measures what is missing and keeps the rest"
        )
