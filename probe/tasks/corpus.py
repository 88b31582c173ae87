"""A folder of files as a corpus: read once, in the order of their digests, and split by them.

A file's split is that of its path under the folder, 80% of the paths for training, 10% for validation and 10% to test, on every
machine. A corpus in memory is used again only while its files are as they were.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ...kernels.shown import with_shapes
from ..errors import StatescopeError
from ..files import sha256
from .base import SHARES, Split, check_request, group_of

SETTLED = 2_000_000_000  # nanoseconds after which a change of a file changes its time, on any file system in use


class EmptyCorpusError(StatescopeError, ValueError):
    """A folder that holds no file that can be read, or too few of them."""


class UnreadableFileError(StatescopeError, ValueError):
    """A file of a corpus that is left out, and why."""


@dataclass(frozen=True)
class Document:
    """One file: its path under the corpus folder and its bytes."""

    path: str
    data: NDArray[np.uint8]

    __repr__ = with_shapes


D = TypeVar("D", bound=Document)
Make = Callable[[str, NDArray[np.uint8], Split], D]


@dataclass(frozen=True)
class Corpus(Generic[D]):
    """Files by split, and how many were left out because they could not be read."""

    files: Mapping[Split, tuple[D, ...]]
    unreadable: int

    def split(self, name: Split) -> tuple[D, ...]:
        return self.files[name]

    def __len__(self) -> int:
        return sum(len(files) for files in self.files.values())

    def windows(self, size: int, length: int, split: Split, generator: Generator) -> list[tuple[D, int]]:
        """`size` windows of `length` bytes with a byte behind them, each of a file and from where: every such window of the split
        is as likely. Raises EmptyCorpusError where no file is long enough.
        """
        check_request(size, length)
        files = self.files[split]
        weights = torch.tensor([max(0, len(file.data) - length) for file in files], dtype=torch.float64)
        if not bool(weights.any()):
            raise EmptyCorpusError(f"no {split} file is longer than {length} bytes; give longer files, or a shorter length")
        chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
        reach = torch.rand(size, generator=generator, dtype=torch.float64)
        begins = (reach * weights[chosen]).long().tolist()
        return [(files[index], begin) for index, begin in zip(chosen.tolist(), begins, strict=True)]


def bytes_of(windows: Sequence[tuple[D, int]], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The bytes [B, length] of windows, the byte after each of them, and the group of each row's file."""
    rows = torch.from_numpy(np.stack([file.data[begin : begin + length + 1] for file, begin in windows]).astype(np.int64))
    return rows[:, :-1], rows[:, 1:], torch.tensor([group_of(file.path) for file, _ in windows])


def corpus_of(folder: Path, paths: Sequence[Path], most_bytes: int, make: Make[D]) -> Corpus[D]:
    """The corpus of these files of a folder. Files are taken until they hold `most_bytes`; one for which `make` raises
    UnreadableFileError, or that cannot be read, is left out and counted.

    Raises EmptyCorpusError where a split has no file.
    """
    return _corpus(folder, tuple(sorted((path, fingerprint(path)) for path in paths)), most_bytes, make)


def files_of(folder: str | Path, pattern: str) -> tuple[Path, list[Path]]:
    """The folder and its files of this pattern, with sub-folders. Raises EmptyCorpusError where there is no such folder."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise EmptyCorpusError(f"the folder {root} does not exist or is not a folder")
    return root, [path for path in root.rglob(pattern) if path.is_file()]


@lru_cache(maxsize=4)
def _corpus(root: Path, files: tuple[tuple[Path, Any], ...], most_bytes: int, make: Make[D]) -> Corpus[D]:
    splits: dict[Split, list[D]] = {split: [] for split in SHARES}
    taken, unreadable = 0, 0
    names = {path.relative_to(root).as_posix(): path for path, _ in files}
    for name in sorted(names, key=name_digest):
        if taken >= most_bytes:
            break
        split = split_of_name(name)
        try:
            data = np.frombuffer(names[name].read_bytes(), dtype=np.uint8)
            document = make(name, data, split)
        except (OSError, UnreadableFileError):
            unreadable += 1
            continue
        if len(data):
            splits[split].append(document)
            taken += len(data)
    empty = [name for name, kept in splits.items() if not kept]
    if empty:
        raise EmptyCorpusError(
            f"the folder {root} has {len(files)} files of the kind, {unreadable} of them unreadable, and none left for "
            f"{' and '.join(empty)}; files are split 80/10/10 by the digest of their path, so give a folder of some dozens"
        )
    return Corpus({name: tuple(kept) for name, kept in splits.items()}, unreadable)


def fingerprint(path: Path) -> tuple[Any, ...]:
    """What differs after a change of the file: its number, size and times, and its digest while a change may be too young to show
    in the times.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    young = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED
    try:
        return (*stamp, sha256(path)) if young else stamp
    except OSError:
        return stamp


def split_of_name(name: str) -> Split:
    """The split of a file, by its path under the corpus folder."""
    return next(split for split, share in SHARES.items() if name_digest(name) % 10 in share)


def name_digest(text: str) -> int:
    """A number for a path, the same on every machine; files are taken in its order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
