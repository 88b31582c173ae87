"""Bytes of Python source with a label for each byte, split by file."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from .base import Batch, Split, Task
from .corpus import Corpus, Document, UnreadableFileError, bytes_of, corpus_of, files_of
from .python_labels import LABELS, UnreadableSourceError, bytes_since_change, label_bytes
from .spelling import Bytes

EXAMPLE = """def f(a, b=(1, [2, 3])):
    # a note
    if a and not b:
        return {"x": g("some text", [a])}
    return b
"""
EXCLUDED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data"}


@dataclass(frozen=True)
class SourceCode(Task, kind="source_code"):
    """Windows of Python files; the target after each byte is the next byte.

    Files are taken in the order of their digests and split by them: 80% train, 10% validation, 10% test. Labels are those of
    `python_labels`, each with "<label>_age", the bytes since it last changed.
    """

    folder: str | None = None
    """This folder is searched for *.py; None means the running Python's standard library, without tests and data."""
    most_bytes: int = 8_000_000
    """Files are taken until they hold this many bytes together."""

    label_names = LABELS

    @property
    def vocabulary(self) -> int:
        return 256

    @cached_property
    def corpus(self) -> Corpus[SourceFile]:
        """The files, as they are when first asked for; another `SourceCode` of the folder sees what has changed since."""
        root, paths = files_of(sysconfig.get_path("stdlib") if self.folder is None else self.folder, "*.py")
        wanted = [path for path in paths if not EXCLUDED & set(path.relative_to(root).parts[:-1])]
        return corpus_of(root, wanted, self.most_bytes, _source_file)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        windows = self.corpus.windows(size, length, split, generator)
        tokens, following, groups = bytes_of(windows, length)
        columns = [*LABELS, *(f"{name}_age" for name in LABELS)] if labels else []
        named = {name: [file.labels[name][begin : begin + length] for file, begin in windows] for name in columns}
        return Batch(tokens, following, {name: torch.from_numpy(np.stack(rows)).long() for name, rows in named.items()}, groups)

    @property
    def spelling(self) -> Bytes:
        """Tokens are typed as text."""
        return Bytes()

    def example(self, length: int) -> str:
        """A few lines of Python, whatever the length: to draw one of the files would read them all."""
        return EXAMPLE

    def labels_of(self, tokens: Tensor) -> dict[str, Tensor]:
        """The labels of a text that is Python; none of one that cannot be read as such."""
        try:
            found = label_bytes(bytes(tokens.tolist()))
        except UnreadableSourceError:
            return {}
        return {name: torch.from_numpy(values.astype(np.int64)) for name, values in found.items()}


@dataclass(frozen=True)
class SourceFile(Document):
    """A file of Python source, which is labelled when its labels are asked for."""

    @cached_property
    def labels(self) -> dict[str, NDArray[np.int32]]:
        """The labels and their ages, computed when first asked for. Raises UnreadableSourceError with the file's path."""
        try:
            found = label_bytes(self.data.tobytes())
        except UnreadableSourceError as error:
            raise UnreadableSourceError(f"{self.path}: {error}") from error
        return {name: value.astype(np.int32) for name, value in found.items()} | {
            f"{name}_age": bytes_since_change(value) for name, value in found.items()
        }


def _source_file(path: str, data: NDArray[np.uint8], split: Split) -> SourceFile:
    """Only source in UTF-8; what is held out must have labels too."""
    file = SourceFile(path, data)
    try:
        data.tobytes().decode("utf-8")
        if split != "train":
            _ = file.labels
    except (UnicodeDecodeError, UnreadableSourceError) as error:
        raise UnreadableFileError(str(error)) from error
    return file
