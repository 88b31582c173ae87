"""Bytes of a folder of text, split by file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from .base import Batch, Split, Task
from .corpus import Corpus, Document, bytes_of, corpus_of, files_of
from .spelling import Bytes


@dataclass(frozen=True)
class Text(Task, kind="text"):
    """Windows of the files of a folder; the target after each byte is the next byte. Labels: "word_place", letters since the word
    began (0 outside words), and "line_place", bytes since the line began.
    """

    folder: str = "."
    """This folder is searched for files, with its sub-folders."""
    pattern: str = "*.txt"
    """Only files whose names match this pattern are read."""
    most_bytes: int = 8_000_000
    """Files are taken until they hold this many bytes together."""

    label_names = ("word_place", "line_place")

    @property
    def vocabulary(self) -> int:
        return 256

    @cached_property
    def corpus(self) -> Corpus[Document]:
        """The files, as they are when first asked for; another `Text` of the folder sees what has changed since."""
        root, paths = files_of(self.folder, self.pattern)
        return corpus_of(root, paths, self.most_bytes, _document)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        tokens, following, groups = bytes_of(self.corpus.windows(size, length, split, generator), length)
        return Batch(tokens, following, _places(tokens) if labels else {}, groups)

    @property
    def spelling(self) -> Bytes:
        """Tokens are typed as text."""
        return Bytes()

    def labels_of(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """The places in word and line."""
        return {name: values[0] for name, values in _places(tokens[None]).items()}


def _places(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    letters = ((tokens | 32) >= ord("a")) & ((tokens | 32) <= ord("z"))
    return {"word_place": _since(~letters), "line_place": _since(tokens == ord("\n"))}


def _since(event: torch.Tensor) -> torch.Tensor:
    """Positions since the last event, itself 0; before any, since the window began, from 1."""
    position = torch.arange(1, event.shape[1] + 1).expand(event.shape)
    return position - torch.where(event, position, 0).cummax(1).values


def _document(path: str, data: NDArray[np.uint8], split: Split) -> Document:
    return Document(path, data)
