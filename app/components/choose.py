"""Selectors whose value stands in the address, so that a link shows what its sender saw, and the next page the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import streamlit as st

from ...probe.errors import UnknownNameError
from ...probe.results.result import Result
from .address import asked_for, begin_without, dropped_before, recall, recall_option, remember, tell_foreign
from .text import literal

T = TypeVar("T")
N = TypeVar("N", int, float)
SIDE_BY_SIDE = 4


def choose(label: str, options: Sequence[T], key: str, *, where: Any = st, **more: Any) -> T:
    """A select box bound to the address as `key`. A value in the address that is no option is told and dropped."""
    shown = more.get("format_func", str)
    _check_address(key, [shown(option) for option in options])
    recall_option(key, options)
    chosen: T = where.selectbox(literal(label), options, key=key, bind="query-params", **more)
    return remember(key, chosen)


def choose_position(label: str, last: int, key: str, default: int = 0) -> int:
    """A slider over token positions, bound to the address as `key`; none, where there is one position."""
    positions = range(last + 1)
    _check_address(key, [str(position) for position in positions], f"0 to {last}" if last else "0")
    if last == 0:
        st.query_params.pop(key, None)
        return 0
    recall_option(key, positions)
    position: int = st.slider(label, 0, last, default, key=key, bind="query-params")
    return remember(key, position)


def choose_number(label: str, key: str, least: N, most: N, default: N, step: N, *, where: Any = st, **more: Any) -> N:
    """A box for a number, bound to the address as `key`. What is no such number in the address is told and dropped."""
    asked = asked_for(key)
    if asked is not None and not _is_number(asked, least, most):
        begin_without(key, asked)
    dropped = dropped_before(key)
    if dropped is not None:
        tell_foreign(key, dropped, [f"{least} to {most}"])
    recall(key, default)
    given: N = where.number_input(label, least, most, step=step, key=key, bind="query-params", **more)
    return remember(key, given)


def text_box(label: str, key: str, most: int, *, where: Any = st, **more: Any) -> str:
    """A line of text bound to the address as `key`, of `most` letters. A longer one in the address is told and dropped."""
    given = asked_for(key) or ""
    if len(given) > most:
        tell_foreign(key, given, [f"{most} letters at most"])
    found: str = where.text_input(label, key=key, bind="query-params", max_chars=most, **more)
    return found


def search(label: str, key: str, *, where: Any = st) -> str:
    """A line of text to search for, bound to the address as `key`."""
    return text_box(label, key, 200, where=where)


def choose_rows(results: Iterable[Result]) -> dict[str, Any]:
    """A select box for each column that the results are selected by, and that has a choice; each narrows those after it.

    Returns the chosen value by column; columns of which all is wanted are left out.
    """
    left, where = list(results), {}
    columns = list(dict.fromkeys(column for result in left for column in result.selectors))
    boxes: list[Any] = []
    for column in columns:
        values = list(dict.fromkeys(value for result in left for value in result.selectors.get(column, ())))
        if len(values) < 2:
            continue
        if len(boxes) == 0:
            boxes = list(st.columns(SIDE_BY_SIDE))
        chosen = choose(column, [None, *values], column, where=boxes.pop(0), format_func=all_or)
        if chosen is not None:
            where[column] = chosen
            left = [part for result in left if (part := rows_of(result, {column: chosen})) is not None]
    return where


def rows_of(result: Result, where: dict[str, Any]) -> Result | None:
    """The rows of a result that a selection for several results leaves, or None. Columns it does not have do not concern it."""
    try:
        return result.select(**{column: value for column, value in where.items() if column in result.table.columns})
    except UnknownNameError:
        return None


def all_or(value: object) -> str:
    """How a selector shows a value, and None, which stands for all."""
    return "all" if value is None else str(value)


def _is_number(text: str, least: float, most: float) -> bool:
    """Whether a text is a number in a range, whole where the range is of whole numbers."""
    try:
        value = float(text)
    except ValueError:
        return False
    return least <= value <= most and (isinstance(least, float) or value.is_integer())


def _check_address(key: str, options: Sequence[str], shown: str = "") -> None:
    given = asked_for(key)
    if given is not None and given not in options:
        tell_foreign(key, given, [shown] if shown else options)
