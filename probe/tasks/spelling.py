"""How the tokens of a model are written: bytes as text, and numbers as numbers."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StatescopeError

BYTE_TEXTS = ["␣" if byte == 32 else repr(chr(byte))[1:-1] if byte < 128 else f"\\x{byte:02x}" for byte in range(256)]
SHOWN = 40


class UnreadableTextError(StatescopeError, ValueError):
    """A text that is no sequence of a model's tokens; the text says what is."""


class Spelling:
    """What reads a text as tokens, and shows tokens as texts."""

    @abstractmethod
    def read(self, text: str) -> list[int]:
        """The tokens of a text. Raises UnreadableTextError for what is none."""

    @abstractmethod
    def write(self, tokens: Sequence[int]) -> str:
        """A text that `read` reads as these tokens."""

    @abstractmethod
    def show(self, tokens: Sequence[int]) -> list[str]:
        """Each token as a short text, for a figure."""


class Bytes(Spelling):
    """The tokens are the 256 bytes of text in UTF-8."""

    def read(self, text: str) -> list[int]:
        """The bytes of a text; every text has some."""
        return list(text.encode("utf-8", "replace"))

    def write(self, tokens: Sequence[int]) -> str:
        """The text of bytes, with a replacement character for what is no UTF-8."""
        return bytes(tokens).decode("utf-8", "replace")

    def show(self, tokens: Sequence[int]) -> list[str]:
        """A byte as its character, a space as ␣, others by their number."""
        return [BYTE_TEXTS[token] for token in tokens]


@dataclass(frozen=True)
class WholeNumbers(Spelling):
    """The tokens are the numbers below `vocabulary`, with spaces or commas between them; digits may stand without, up to ten of
    them.
    """

    vocabulary: int

    def read(self, text: str) -> list[int]:
        """The numbers of a text. Raises UnreadableTextError for a word that is none of them."""
        words = [word for word in re.split(r"[\s,]+", text) if word]
        words = [letter for word in words for letter in word] if self.vocabulary <= 10 else words
        return [self._token(word) for word in words]

    def _token(self, word: str) -> int:
        token = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else self.vocabulary
        if token >= self.vocabulary:
            raise UnreadableTextError(
                f"{word[:SHOWN]!r} is no token of this model, which reads whole numbers from 0 to {self.vocabulary - 1}, such as "
                f"{self.write([0, self.vocabulary - 1, 0])!r}"
            )
        return token

    def write(self, tokens: Sequence[int]) -> str:
        """The numbers with a space between them."""
        return " ".join(map(str, tokens))

    def show(self, tokens: Sequence[int]) -> list[str]:
        """The numbers as they are."""
        return [str(token) for token in tokens]
