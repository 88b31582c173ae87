"""Selectors whose value stands in the address, so that a link shows what its sender saw, and the next page the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from ...probe.errors import UnknownNameError
from ...probe.results.result import Result
from .text import literal

T = TypeVar("T")
N = TypeVar("N", int, float)
SIDE_BY_SIDE = 4
CHOSEN = "chosen"  # by key; Streamlit forgets what is chosen when the page changes
PAGE, NEW_PAGE = "page", "page is new"
DROPPED = "dropped"  # what the address asked for and no box can show, by its key
TOLD = "told"  # of that, what this drawing of the page has said


def choose(label: str, options: Sequence[T], key: str, *, where: Any = st, **more: Any) -> T:
    """A select box bound to the address as `key`. A value in the address that is no option is told and dropped."""
    shown = more.get("format_func", str)
    _check_address(key, [shown(option) for option in options])
    _recall(key, options)
    chosen: T = where.selectbox(literal(label), options, key=key, bind="query-params", **more)
    return remember(key, chosen)


def choose_position(label: str, last: int, key: str, default: int = 0) -> int:
    """A slider over token positions, bound to the address as `key`; none, where there is one position."""
    if last == 0:
        return 0
    positions = range(last + 1)
    _check_address(key, [str(position) for position in positions])
    _recall(key, positions)
    position: int = st.slider(label, 0, last, default, key=key, bind="query-params")
    return remember(key, position)


def choose_number(label: str, key: str, least: N, most: N, default: N, step: N, *, where: Any = st, **more: Any) -> N:
    """A box for a number, bound to the address as `key`. What is no such number in the address is told and dropped."""
    asked, dropped = st.query_params.get(key), st.session_state.setdefault(DROPPED, {})
    told = st.session_state.setdefault(TOLD, {})
    if asked is not None and not _is_number(asked, least, most):
        # Streamlit reads the address as it was when the script began, and fails on a number too large: begin without it. What
        # was said of others goes with the page, and is said again.
        dropped |= {**told, key: asked}
        del st.query_params[key]
        st.rerun()
    if key in dropped:
        told[key] = dropped.pop(key)
        tell_foreign(key, told[key], [f"{least} to {most}"])
    recall(key, default)
    given: N = where.number_input(label, least, most, step=step, key=key, bind="query-params", **more)
    return remember(key, given)


@contextmanager
def entered(page: str) -> Iterator[None]:
    """Say which page is drawn, while it is: on a new one the selectors begin with what was chosen on the last.

    Later a part of the page may be drawn alone, with what is chosen there by then.
    """
    st.session_state[NEW_PAGE] = st.session_state.get(PAGE) != page
    st.session_state[PAGE] = page
    st.session_state[TOLD] = {}
    try:
        yield
    finally:
        st.session_state[NEW_PAGE] = False


def search(label: str, key: str, *, where: Any = st) -> str:
    """A line of text bound to the address as `key`."""
    found: str = where.text_input(label, key=key, bind="query-params", max_chars=200)
    return found


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


def recall(key: str, default: object) -> None:
    """On a page that is new, begin with what was given on the last one, or with a default; the address outranks both."""
    given = st.session_state.get(CHOSEN, {})
    if (st.session_state.get(NEW_PAGE) or key not in given) and key not in st.query_params:
        st.session_state[key] = given.get(key, default)


def _recall(key: str, options: Sequence[object]) -> None:
    """As `recall`, where what was chosen is still there."""
    remembered = st.session_state.get(CHOSEN, {})
    if st.session_state.get(NEW_PAGE) and key not in st.query_params and key in remembered and remembered[key] in options:
        st.session_state[key] = remembered[key]


def remember(key: str, value: T) -> T:
    """Keep what is chosen for the next page, and give it back."""
    st.session_state.setdefault(CHOSEN, {})[key] = value
    return value


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


def _check_address(key: str, options: Sequence[str]) -> None:
    given = st.query_params.get(key)
    if given is not None and given not in options:
        tell_foreign(key, given, options)


def tell_foreign(key: str, given: str, options: Sequence[str]) -> None:
    """Say that the address asks for what is not there."""
    shown = ", ".join(options[:8]) + (", ..." if len(options) > 8 else "")
    st.warning(
        f"The address asks for {literal(f'{key}={given}', 60)}, which is not there ({literal(shown, 200)}); the default is shown."
    )
