"""Bytes of a folder of text, split by file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from .base import SHARES, Batch, Split, Task, group_of
from .source_code import EmptyCorpusError, SourceFile, name_digest, split_of_name


@dataclass(frozen=True)
class Text(Task, kind="text"):
    """Windows of the files of a folder; the target after each byte is the next byte. Labels: "word_place", letters since the word
    began (0 outside words), and "line_place", bytes since the line began.
    """

    folder: str = "."
    """searched for files, with its sub-folders"""
    pattern: str = "*.txt"
    """of the file names"""
    most_bytes: int = 8_000_000
    """files are taken until they hold this many bytes"""

    label_names = ("word_place", "line_place")

    @property
    def vocabulary(self) -> int:
        return 256

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        files = [file for file in _read(self)[split] if len(file.data) > length]
        if not files:
            raise EmptyCorpusError(f"no {split} file of {self.folder} is longer than {length} bytes")
        weights = torch.tensor([len(file.data) - length for file in files], dtype=torch.float64)
        chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
        reach = torch.rand(size, generator=generator, dtype=torch.float64)
        begins = (reach * weights[chosen]).long().tolist()
        windows = [files[i].data[begin : begin + length + 1] for i, begin in zip(chosen.tolist(), begins, strict=True)]
        groups = torch.tensor([group_of(files[i].path) for i in chosen.tolist()])
        rows = torch.from_numpy(np.stack(windows).astype(np.int64))
        tokens = rows[:, :-1]
        letters = ((tokens | 32) >= ord("a")) & ((tokens | 32) <= ord("z"))
        named = {"word_place": _since(~letters), "line_place": _since(tokens == ord("\n"))}
        return Batch(tokens, rows[:, 1:], named if labels else {}, groups)


def _since(event: torch.Tensor) -> torch.Tensor:
    """Positions since the last event, itself 0; before any, since the window began, from 1."""
    position = torch.arange(1, event.shape[1] + 1).expand(event.shape)
    return position - torch.where(event, position, 0).cummax(1).values


@lru_cache(maxsize=4)
def _read(task: Text) -> dict[Split, list[SourceFile]]:
    root = Path(task.folder).expanduser()
    if not root.is_dir():
        raise EmptyCorpusError(f"the folder {root} does not exist or is not a folder")
    found: dict[Split, list[SourceFile]] = {split: [] for split in SHARES}
    taken = 0
    names = {path.relative_to(root).as_posix(): path for path in root.rglob(task.pattern) if path.is_file()}
    for name in sorted(names, key=name_digest):
        if taken < task.most_bytes:
            split, path = split_of_name(name), names[name]
            found[split].append(SourceFile(name, np.frombuffer(path.read_bytes(), dtype=np.uint8)))
            taken += len(found[split][-1].data)
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise EmptyCorpusError(
            f"the folder {root} holds {sum(map(len, found.values()))} files like {task.pattern}, none for {' and '.join(empty)}; "
            "files are split 80/10/10 by the digest of their path, so give a folder of some dozens"
        )
    return found
