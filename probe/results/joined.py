"""Results of one kind as one: their rows in one table, told apart by a column such as `seed` or `step`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .result import Result


def join(results: Mapping[int, Result], by: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table of all rows, with the column `by` first, and what is said about it: the kind, and what each result says.

    Raises ValueError for no results, and for results of several kinds.
    """
    kinds = {result.kind for result in results.values()}
    if len(kinds) != 1:
        raise ValueError(f"results over {by}s are of one kind, got {sorted(kinds) or 'none'}")
    tables = [result.table.assign(**{by: place})[[by, *result.table.columns]] for place, result in results.items()]
    about = {str(place): dict(result.about) for place, result in results.items()}
    return pd.concat(tables, ignore_index=True), {"kind": kinds.pop(), "about": about}


def part_of(joined: Result, by: str, place: int) -> Result:
    """One of the results that were joined. Raises UnknownNameError for a place that is not there."""
    rows = joined.select(**{by: place}).table.drop(columns=by).reset_index(drop=True)
    made: Result = Result.of_kind(joined.about["kind"])(rows, joined.about["about"][str(place)])
    return made
