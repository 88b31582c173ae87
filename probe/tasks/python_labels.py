"""Labels of every byte of a Python source, from the standard library's own tokenizer.

Each label says what is true *after* the byte: at the quote that closes a string, no string is open any more.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import StatescopeError

LABELS = ("bracket_depth", "in_string", "in_comment", "indentation", "in_parameters")
CAPS = {"bracket_depth": 4, "indentation": 5}  # deeper counts as this

_OPEN_STRING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSE_STRING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


class UnreadableSourceError(StatescopeError, ValueError):
    """A file that the tokenizer does not accept."""


def label_bytes(source: bytes) -> dict[str, NDArray[np.int16]]:
    """The labels of LABELS for each byte of a source in UTF-8. Raises UnreadableSourceError where `tokenize` fails.

    bracket_depth: open (, [ and {, at most 4. in_string: a string literal is open. in_comment: a comment is open.
    indentation: blocks the line lies in, at most 5. in_parameters: inside the parentheses of a function definition.
    """
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError) as error:
        raise UnreadableSourceError(str(error)) from error
    if tokens[0].string != "utf-8":
        raise UnreadableSourceError(f"the source declares the encoding {tokens[0].string}; only UTF-8 is read")
    broken = [token for token in tokens if token.type == tokenize.ERRORTOKEN and token.string.strip()]
    if broken:  # Python 3.12 and later raise above
        raise UnreadableSourceError(f"line {broken[0].start[0]} holds {broken[0].string!r}, which is no token")
    offset = _byte_offsets(source)
    changes = {name: np.zeros(len(source) + 1, dtype=np.int32) for name in LABELS}

    def span(name: str, start: int, stop: int) -> None:
        changes[name][start] += 1
        changes[name][stop] -= 1

    opened: list[tuple[int, bool]] = []  # (byte of the bracket, whether it opens a parameter list)
    strings: list[int] = []
    definition = False
    previous = ""
    for token in tokens:
        start, stop = offset(token.start), offset(token.end)
        if token.type == tokenize.INDENT:
            changes["indentation"][stop] += 1
        elif token.type == tokenize.DEDENT:
            changes["indentation"][start] -= 1
        elif token.type == tokenize.STRING:
            span("in_string", start + _prefix(token.string), stop - 1)
        elif token.type in _OPEN_STRING:
            strings.append(start + _prefix(token.string))
        elif token.type in _CLOSE_STRING:
            span("in_string", strings.pop(), stop - 1)
        elif token.type == tokenize.COMMENT:
            span("in_comment", start, stop)
        elif token.type == tokenize.OP and token.string in "([{":
            parameters = definition and token.string == "("
            opened.append((start, parameters))
            definition = definition and not parameters
        elif token.type == tokenize.OP and token.string in ")]}":
            if not opened:
                raise UnreadableSourceError(f"line {token.start[0]} closes a bracket that is not open")
            begin, parameters = opened.pop()
            span("bracket_depth", begin, start)
            if parameters:
                span("in_parameters", begin, start)
        elif token.type == tokenize.NAME and previous == "def":
            definition = True
        previous = token.string
    if opened:
        raise UnreadableSourceError("a bracket is never closed")
    values = {name: np.cumsum(change[:-1]) for name, change in changes.items()}
    return {name: np.minimum(value, CAPS.get(name, 1)).astype(np.int16) for name, value in values.items()}


def bytes_since_change(label: NDArray[np.int16]) -> NDArray[np.int32]:
    """For each byte the bytes since the label last changed: 0 at the byte that changed it."""
    position = np.arange(len(label))
    changed = np.concatenate([[True], label[1:] != label[:-1]])
    since: NDArray[np.int32] = (position - np.maximum.accumulate(np.where(changed, position, 0))).astype(np.int32)
    return since


def _prefix(literal: str) -> int:
    """Letters before a string's first quote."""
    return min(at for at in (literal.find("'"), literal.find('"')) if at >= 0)


def _byte_offsets(source: bytes) -> Callable[[tuple[int, int]], int]:
    """A function from the tokenizer's (row, column in characters) to a byte offset."""
    lines = io.BytesIO(source).readlines()
    starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    text = [None if line.isascii() else line.decode("utf-8") for line in lines]

    def offset(place: tuple[int, int]) -> int:
        row, column = place
        if row == 0 or row > len(lines):
            return 0 if row == 0 else len(source)
        line = text[row - 1]
        inside = column if line is None else len(line[:column].encode("utf-8"))
        return int(min(starts[row - 1] + inside, starts[row]))

    return offset
