"""A result as its file holds it: a Parquet table with a header. Reading one here imports no pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from ..errors import StatescopeError, other_version
from ..files import check_regular

SCHEMA_VERSION = 1
MOST_ENTRIES = 2**28  # of a table, 2 GiB of numbers: a few bytes of a file can stand for more rows than any memory holds
_METADATA = b"statescope"
_UNREADABLE = (OSError, pa.ArrowException, ValueError, RecursionError)


class DamagedResultError(StatescopeError, ValueError):
    """A result file that is missing, cut short or altered."""


@dataclass(frozen=True)
class Header:
    """What a result file says of itself."""

    kind: str
    module: str
    about: Mapping[str, Any]

    @classmethod
    def read(cls, schema: pa.Schema) -> Header:
        """From the schema of a file. Raises ValueError for what is no header of ours."""
        raw = (schema.metadata or {}).get(_METADATA)
        if raw is None:
            raise ValueError("it is a Parquet file without the header of a result")
        plain = json.loads(raw)
        if not isinstance(plain, dict):
            raise ValueError("its header is no table of names")
        if plain.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(other_version(plain.get("schema_version"), SCHEMA_VERSION))
        kind, module, about = plain.get("kind"), plain.get("module", ""), plain.get("about", {})
        if not isinstance(kind, str) or not isinstance(module, str) or not isinstance(about, dict):
            raise ValueError("its header needs kind (text), module (text) and about (a table)")
        return cls(kind, module, about)


def with_header(table: pa.Table, header: Mapping[str, Any]) -> pa.Table:
    """The table with a header of these fields."""
    plain = {"schema_version": SCHEMA_VERSION} | dict(header)
    return table.replace_schema_metadata({_METADATA: json.dumps(plain, sort_keys=True).encode()})


def read_stored(path: str | Path) -> tuple[Header, pa.Table]:
    """The header and the table of a result file. Raises DamagedResultError naming the file for what is no result, or too large
    for one.
    """
    try:
        check_regular(path)
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:  # `read_table` imports pandas
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
            if rows * columns > MOST_ENTRIES:
                raise ValueError(
                    f"it has {rows:,} rows of {columns} columns; no result of more than {MOST_ENTRIES:,} entries is read"
                )
            table = file.read()
        return Header.read(table.schema), table.replace_schema_metadata(None)
    except _UNREADABLE as error:
        raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error


def header_in(path: str | Path) -> Header:
    """The header of a result file, of which only the end is read. Raises DamagedResultError naming the file."""
    try:
        check_regular(path)
        return Header.read(parquet.read_schema(path))
    except _UNREADABLE as error:
        raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
