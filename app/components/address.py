"""What stands in a page's address, and what is chosen on it.

Whatever a reader puts into the address is shown, or told: a value that is not there where its selector is drawn (`tell_foreign`),
and an entry that no selector of the page goes by when all of them are (`entered`). What is chosen goes on to the next page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import streamlit as st

from .text import literal

T = TypeVar("T")
CHOSEN = "chosen"  # by key; Streamlit forgets what is chosen when the page changes
PAGE, NEW_PAGE = "page", "page is new"
DROPPED = "dropped"  # what the address asked for and no box can show, by its key
TOLD = "told"  # of that, what this drawing of the page has said
GIVEN = "given in the address"  # what stood in the address when the page was opened, until the page has been drawn to its end
READ = "gone by"  # the keys of the address that the selectors of this drawing go by


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


def begin_without(key: str, asked: str) -> NoReturn:
    """Begin the page anew without an entry of the address, which is told then (`dropped_before`).

    Streamlit reads the address as it was when the script began, and fails on a number too large. What was said of others goes
    with the page, and is said again.
    """
    st.session_state.setdefault(DROPPED, {}).update({**st.session_state.setdefault(TOLD, {}), key: asked})
    del st.query_params[key]
    st.rerun()


def dropped_before(key: str) -> str | None:
    """What the address had for a key before the page was begun without it; None where it had nothing, or that has been said."""
    dropped = st.session_state.setdefault(DROPPED, {})
    if key not in dropped:
        return None
    found: str = dropped.pop(key)
    st.session_state.setdefault(TOLD, {})[key] = found
    return found


def tell_foreign(key: str, given: str, options: Sequence[str]) -> None:
    """Say that the address asks for what is not there."""
    shown = ", ".join(options[:8]) + (", ..." if len(options) > 8 else "")
    st.warning(
        f"The address asks for {literal(f'{key}={given}', 60)}, which is not there ({literal(shown, 200)}); the default is shown."
    )


def recall(key: str, default: object) -> None:
    """On a page that is new, begin with what was given on the last one, or with a default; the address outranks both."""
    given = st.session_state.get(CHOSEN, {})
    if (st.session_state.get(NEW_PAGE) or key not in given) and key not in st.query_params:
        st.session_state[key] = given.get(key, default)


def recall_option(key: str, options: Sequence[object]) -> None:
    """As `recall`, where what was chosen is still there."""
    remembered = st.session_state.get(CHOSEN, {})
    if st.session_state.get(NEW_PAGE) and key not in st.query_params and key in remembered and remembered[key] in options:
        st.session_state[key] = remembered[key]


def remember(key: str, value: T) -> T:
    """Keep what is chosen for the next page, and give it back."""
    st.session_state.setdefault(CHOSEN, {})[key] = value
    return value
