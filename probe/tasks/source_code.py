"""Bytes of Python source with a label for each byte, split by file."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..errors import StatescopeError
from .base import SHARES, Batch, Split, Task, group_of
from .python_labels import LABELS, UnreadableSourceError, bytes_since_change, label_bytes

EXCLUDED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data"}


class EmptyCorpusError(StatescopeError, ValueError):
    """A folder that holds no readable Python source."""


@dataclass(frozen=True)
class SourceCode(Task, kind="source_code"):
    """Windows of Python files; the target after each byte is the next byte.

    Files are taken in the order of their digests and split by them: 80% train, 10% validation, 10% test. Labels are those of
    `python_labels`, each with "<label>_age", the bytes since it last changed.
    """

    folder: str | None = None
    """searched for *.py; None means the standard library of the running Python, without tests and data"""
    most_bytes: int = 8_000_000
    """files are taken until they hold this many bytes"""

    label_names = LABELS

    @property
    def vocabulary(self) -> int:
        return 256

    @property
    def corpus(self) -> Corpus:
        """The files; read once a process."""
        return _read_corpus(self)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        files = self.corpus.split(split)
        lengths = torch.tensor([len(file.data) for file in files])
        weights = (lengths - length).clamp(min=0).double()
        if not bool(weights.any()):
            raise EmptyCorpusError(f"no {split} file is longer than {length} bytes; give more source, or a shorter length")
        chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
        reach = torch.rand(size, generator=generator, dtype=torch.float64)
        begins = (reach * weights[chosen]).long().tolist()
        picked = [files[index] for index in chosen.tolist()]
        cuts = [slice(begin, begin + length) for begin in begins]
        tokens = _stack([file.data[cut] for file, cut in zip(picked, cuts, strict=True)])
        following = _stack([file.data[cut.start + 1 : cut.stop + 1] for file, cut in zip(picked, cuts, strict=True)])
        columns = [*LABELS, *(f"{name}_age" for name in LABELS)] if labels else []
        named = {name: _stack([f.labels[name][cut] for f, cut in zip(picked, cuts, strict=True)]) for name in columns}
        return Batch(tokens, following, named, torch.tensor([group_of(file.path) for file in picked]))


@dataclass(frozen=True)
class SourceFile:
    """One file: its path under the corpus folder and its bytes."""

    path: str
    data: NDArray[np.uint8]

    @cached_property
    def labels(self) -> dict[str, NDArray[np.int32]]:
        """The labels and their ages, computed when first asked for."""
        found = label_bytes(self.data.tobytes())
        return {name: value.astype(np.int32) for name, value in found.items()} | {
            f"{name}_age": bytes_since_change(value) for name, value in found.items()
        }


@dataclass(frozen=True)
class Corpus:
    """Files by split, and how many were left out because they could not be read or labelled."""

    files: dict[Split, tuple[SourceFile, ...]]
    unreadable: int

    def split(self, name: Split) -> tuple[SourceFile, ...]:
        return self.files[name]

    def __len__(self) -> int:
        return sum(len(files) for files in self.files.values())


@lru_cache(maxsize=4)
def _read_corpus(task: SourceCode) -> Corpus:
    root = Path(sysconfig.get_path("stdlib") if task.folder is None else task.folder).expanduser()
    if not root.is_dir():
        raise EmptyCorpusError(f"the corpus folder {root} does not exist or is not a folder")
    paths = [path for path in root.rglob("*.py") if not EXCLUDED & set(path.relative_to(root).parts[:-1])]
    splits: dict[Split, list[SourceFile]] = {"train": [], "validation": [], "test": []}
    taken, unreadable = 0, 0
    for path in sorted(paths, key=lambda path: name_digest(path.relative_to(root).as_posix())):
        if taken >= task.most_bytes:
            break
        name = path.relative_to(root).as_posix()
        split = split_of_name(name)
        try:
            data = path.read_bytes()
            data.decode("utf-8")
            file = SourceFile(name, np.frombuffer(data, dtype=np.uint8))
            if split != "train":
                _ = file.labels
        except (OSError, UnicodeDecodeError, UnreadableSourceError):
            unreadable += 1
            continue
        if data:
            splits[split].append(file)
            taken += len(data)
    empty = [name for name, files in splits.items() if not files]
    if empty:
        raise EmptyCorpusError(
            f"the corpus folder {root} has {len(paths)} Python files, {unreadable} of them unreadable, and none left for "
            f"{' and '.join(empty)}; files are split 80/10/10 by the digest of their path, so give a folder of some dozens"
        )
    return Corpus({name: tuple(files) for name, files in splits.items()}, unreadable)


def split_of_name(name: str) -> Split:
    """The split of a file, by its path under the corpus folder."""
    return next(split for split, share in SHARES.items() if name_digest(name) % 10 in share)


def name_digest(text: str) -> int:
    """A number for a path, the same on every machine; files are taken in its order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _stack(rows: list[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.int64))
