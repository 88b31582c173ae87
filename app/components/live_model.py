"""A model that is open, and how one writes to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...probe.errors import StatescopeError
from ...probe.tasks.base import Task
from ...probe.tasks.spelling import Bytes, Spelling, UnreadableTextError, WholeNumbers

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

TRIED = 16  # tokens
WORDS = "The keys of the cabinet are on the table. The table stands in the hall."


@dataclass(frozen=True)
class OfTokenizer(Spelling):
    """The tokens are those of a model's tokenizer."""

    model: HookedModel

    def read(self, text: str) -> list[int]:
        """The tokens of a text. Raises UnreadableTextError for one that the model has no embedding of."""
        try:
            found: list[int] = self.model.to_tokens(text)[0].tolist()
        except ValueError as error:
            raise UnreadableTextError(str(error)) from error
        return found

    def write(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.model.to_string(list(tokens)))

    def show(self, tokens: Sequence[int]) -> list[str]:
        """Each token as text, without a break of the line."""
        return [text.replace("\n", "\\n") or "·" for text in self.model.texts_of(tokens)]


@dataclass
class LiveModel:
    """A model that is open, how its tokens are written, and the lines of Python that open it.

    task: what it was trained on, where that is known; task_code: the same as a Python expression. lock: one thread at a time runs
    it, for hooks hang on it meanwhile.
    """

    name: str
    key: str
    model: HookedModel
    spelling: Spelling
    example: str
    code: str
    about: Callable[[], dict[str, Any]]
    task: Task | None = None
    task_code: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    second_a_token: float = 0.0

    def __post_init__(self) -> None:
        """Take the time of a short run, after one that warms up."""
        tried = min(TRIED, self.model.longest or TRIED)
        tokens = torch.zeros(1, tried, dtype=torch.long)
        with torch.no_grad():
            self.model(tokens)
            begin = time.monotonic()
            self.model(tokens)
        self.second_a_token = (time.monotonic() - begin) / tried


def spelling_of(model: HookedModel) -> tuple[Spelling, str]:
    """How a model is written to, and an example that it can read: without a tokenizer one of 256 tokens reads bytes, and another
    one numbers.
    """
    if model.tokenizer is not None:
        return _shown(OfTokenizer(model), WORDS, model.longest)
    if model.cfg.d_vocab == 256:
        return _shown(Bytes(), WORDS, model.longest)
    numbers = WholeNumbers(model.cfg.d_vocab)
    return _shown(numbers, numbers.write([index % numbers.vocabulary for index in range(24)]), model.longest)


def _shown(spelling: Spelling, example: str, longest: int | None) -> tuple[Spelling, str]:
    tokens = spelling.read(example)
    return spelling, example if longest is None or len(tokens) <= longest else spelling.write(tokens[:longest])


def example_of(task: Task, length: int) -> str:
    """A text that a task would give, of a length in tokens."""
    try:
        return task.example(length)
    except (StatescopeError, ValueError, OSError):  # such as a corpus that is elsewhere
        return task.spelling.write([index % max(task.vocabulary, 1) for index in range(min(length, 24))])
