"""Selectors whose value stands in the address, so that a link shows what its sender saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import streamlit as st

from .text import literal

T = TypeVar("T")


def choose(label: str, options: Sequence[T], key: str, *, where: Any = st, **more: Any) -> T:
    """A select box bound to the address as `key`. A value in the address that is no option is told and dropped."""
    _check_address(key, [str(option) for option in options])
    chosen: T = where.selectbox(label, options, key=key, bind="query-params", **more)
    return chosen


def choose_position(label: str, last: int, key: str, default: int = 0) -> int:
    """A slider over token positions, bound to the address as `key`."""
    _check_address(key, [str(position) for position in range(last + 1)])
    position: int = st.slider(label, 0, last, default, key=key, bind="query-params")
    return position


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
