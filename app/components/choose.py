"""Selectors whose value stands in the address, so that a link shows what its sender saw, and the next page the same rows.

Whatever a reader puts into the address is shown, or told: a value that is not there where its selector is drawn (`tell_foreign`),
and an entry that no selector of the page goes by when all of them are (`entered`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
GIVEN = "given in the address"  # what stood in the address when the page was opened, until the page has been drawn to its end
READ = "gone by"  # the keys of the address that the selectors of this drawing go by


def choose(label: str, options: Sequence[T], key: str, *, where: Any = st, **more: Any) -> T:
    """A select box bound to the address as `key`. A value in the address that is no option is told and dropped."""
    shown = more.get("format_func", str)
    _check_address(key, [shown(option) for option in options])
    _recall(key, options)
    chosen: T = where.selectbox(literal(label), options, key=key, bind="query-params", **more)
    return remember(key, chosen)


def choose_position(label: str, last: int, key: str, default: int = 0) -> int:
    """A slider over token positions, bound to the address as `key`; none, where there is one position."""
    positions = range(last + 1)
    _check_address(key, [str(position) for position in positions], f"0 to {last}" if last else "0")
    if last == 0:
        st.query_params.pop(key, None)
        return 0
    _recall(key, positions)
    position: int = st.slider(label, 0, last, default, key=key, bind="query-params")
    return remember(key, position)


def choose_number(label: str, key: str, least: N, most: N, default: N, step: N, *, where: Any = st, **more: Any) -> N:
    """A box for a number, bound to the address as `key`. What is no such number in the address is told and dropped."""
    asked, dropped = asked_for(key), st.session_state.setdefault(DROPPED, {})
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
def entered(page: str, read: Sequence[str] = ()) -> Iterator[None]:
    """Say which page is drawn, while it is: on a new one the selectors begin with what was chosen on the last, and above a new
    one that is drawn to its end stands once what of its address no selector goes by.

    Later a part of the page may be drawn alone, with what is chosen there by then.
    read: the keys of the address that selectors outside of the page go by.
    """
    is_new = st.session_state.get(PAGE) != page
    if is_new:
        st.session_state[GIVEN] = st.query_params.to_dict()
    st.session_state.update({PAGE: page, NEW_PAGE: is_new, TOLD: {}, READ: dict.fromkeys(read)})
    above = st.container()
    try:
        yield
        with above:
            _tell_unread(st.session_state.pop(GIVEN, {}), list(st.session_state[READ]))
    finally:
        st.session_state[NEW_PAGE] = False


def _tell_unread(given: Mapping[str, str], read: Sequence[str]) -> None:
    """Say which entries of the address nothing on the page goes by, and which it would."""
    unread = [f"{key}={value}" for key, value in given.items() if key not in read]
    if not unread:
        return
    known = f"It goes by {literal(', '.join(read), 300)}." if read else "It goes by nothing in it."
    st.warning(f"The address holds {literal(', '.join(unread), 120)}, which this page does not go by and ignores. {known}")


def asked_for(key: str) -> str | None:
    """What the address has for a key that the page goes by; None where it has nothing."""
    st.session_state.setdefault(READ, {})[key] = None  # a dictionary keeps the order
    given: str | None = st.query_params.get(key)
    return given


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


def _check_address(key: str, options: Sequence[str], shown: str = "") -> None:
    given = asked_for(key)
    if given is not None and given not in options:
        tell_foreign(key, given, [shown] if shown else options)


def tell_foreign(key: str, given: str, options: Sequence[str]) -> None:
    """Say that the address asks for what is not there."""
    shown = ", ".join(options[:8]) + (", ..." if len(options) > 8 else "")
    st.warning(
        f"The address asks for {literal(f'{key}={given}', 60)}, which is not there ({literal(shown, 200)}); the default is shown."
    )
