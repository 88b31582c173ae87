"""Labels of every byte of a Python source, from the standard library's own tokenizer.

Each label says what is true *after* the byte: at the quote that closes a string, no string is open any more.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from ..errors import StatescopeError

LABELS = ("bracket_depth", "in_string", "in_comment", "indentation", "in_parameters")
CAPS = {"bracket_depth": 4, "indentation": 5}  # deeper counts as this
CLOSES = {")": "(", "]": "[", "}": "{"}

_OPEN_STRING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSE_STRING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


class UnreadableSourceError(StatescopeError, ValueError):
    """A file that the tokenizer does not accept."""


def label_bytes(source: bytes) -> dict[str, NDArray[np.int16]]:
    """The labels of LABELS for each byte of a source in UTF-8, the same under every version of Python that reads the source.

    bracket_depth: open (, [ and { of the code, at most 4; those inside strings are text, the replacement fields of f-strings too.
    in_string: a string literal is open. in_comment: a comment is open.
    indentation: blocks the line lies in, at most 5. A block ends behind its last statement, or behind the comments that follow it
        and stand as deep; blank lines and shallower comments behind it belong to what it lies in.
    in_parameters: inside the parentheses of a function definition.

    Raises UnreadableSourceError where `tokenize` fails, and where a bracket is closed by another kind or not at all.
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
    changes = {name: np.zeros(len(source) + 1, dtype=np.int32) for name in LABELS}
    offset = _byte_offsets(source)
    for name, start, stop in (*_strings_and_comments(tokens, offset), *_brackets(tokens, offset), *_blocks(tokens, offset)):
        changes[name][start] += 1
        changes[name][stop] -= 1
    values = {name: np.cumsum(change[:-1]) for name, change in changes.items()}
    return {name: np.minimum(value, CAPS.get(name, 1)).astype(np.int16) for name, value in values.items()}


Offset = Callable[[tuple[int, int]], int]
Spans = Iterator[tuple[str, int, int]]  # a label, and the bytes from where to where it is one more


def _strings_and_comments(tokens: Sequence[tokenize.TokenInfo], offset: Offset) -> Spans:
    opened: list[int] = []
    for token in tokens:
        start, stop = offset(token.start), offset(token.end)
        if token.type == tokenize.STRING:
            _check_literal(token)
            yield "in_string", start + _prefix(token.string), stop - 1
        elif token.type in _OPEN_STRING:
            opened.append(start + _prefix(token.string))
        elif token.type in _CLOSE_STRING:
            yield "in_string", opened.pop(), stop - 1
        elif token.type == tokenize.COMMENT:
            yield "in_comment", start, stop


def _brackets(tokens: Sequence[tokenize.TokenInfo], offset: Offset) -> Spans:
    """Brackets, and which of them hold parameters: the first parentheses behind the name of a definition, at the name's depth.
    Brackets before them hold type parameters.
    """
    opened: list[tuple[str, int, bool]] = []  # the bracket, its byte, and whether it opens parameters
    strings = 0
    defined: int | None = None  # the depth of a definition whose parameters have not come yet
    previous = ""
    for token in tokens:
        strings += (token.type in _OPEN_STRING) - (token.type in _CLOSE_STRING)
        if token.type == tokenize.NAME and previous == "def":
            defined = len(opened)
        elif token.type == tokenize.OP and token.string in CLOSES.values() and not strings:
            parameters = token.string == "(" and defined == len(opened)
            defined = None if parameters else defined
            opened.append((token.string, offset(token.start), parameters))
        elif token.type == tokenize.OP and token.string in CLOSES and not strings:
            if not opened or opened[-1][0] != CLOSES[token.string]:
                raise UnreadableSourceError(f"line {token.start[0]} closes with {token.string} a bracket that is not open")
            _, begin, parameters = opened.pop()
            yield "bracket_depth", begin, offset(token.start)
            if parameters:
                yield "in_parameters", begin, offset(token.start)
        previous = token.string
    if opened:
        raise UnreadableSourceError("a bracket is never closed")


def _blocks(tokens: Sequence[tokenize.TokenInfo], offset: Offset) -> Spans:
    """The tokenizer closes blocks only before the next statement; here they end behind what they hold."""
    opened: list[tuple[int, int]] = []  # the column of a block and its first byte
    ended = 0  # the byte behind the last statement
    comments: list[tuple[int, int]] = []  # the comments alone on their lines since then: column, and the byte behind the line
    alone = True  # no statement has begun on this line
    for token in tokens:
        if token.type == tokenize.INDENT:
            opened.append((token.end[1], offset(token.end)))
        elif token.type == tokenize.DEDENT:
            column, begin = opened.pop()
            yield "indentation", begin, max([ended, *_as_deep(comments, column)])
        elif token.type == tokenize.COMMENT and alone:
            comments.append((token.start[1], offset((token.end[0] + 1, 0))))
        elif token.type == tokenize.NEWLINE:
            ended, comments, alone = offset(token.end), [], True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING):
            alone = False


def _as_deep(comments: Sequence[tuple[int, int]], column: int) -> list[int]:
    """The bytes behind the comments up to the first that stands before the column."""
    return [behind for _, behind in takewhile(lambda comment: comment[0] >= column, comments)]


def bytes_since_change(label: NDArray[np.int16]) -> NDArray[np.int32]:
    """For each byte the bytes since the label last changed: 0 at the byte that changed it."""
    position = np.arange(len(label))
    changed = np.concatenate([[True], label[1:] != label[:-1]])
    since: NDArray[np.int32] = (position - np.maximum.accumulate(np.where(changed, position, 0))).astype(np.int32)
    return since


def _check_literal(token: tokenize.TokenInfo) -> None:
    """Before Python 3.12 the tokenizer ends an f-string at the first quote of its kind, also where a later Python would go on."""
    if _OPEN_STRING or "f" not in token.string[: _prefix(token.string)].lower():
        return
    try:
        ast.parse(token.string)
    except (SyntaxError, ValueError) as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise UnreadableSourceError(f"line {token.start[0]} holds an f-string that Python {version} does not read") from error


def _prefix(literal: str) -> int:
    """Letters before a string's first quote."""
    return min(at for at in (literal.find("'"), literal.find('"')) if at >= 0)


def _byte_offsets(source: bytes) -> Offset:
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
