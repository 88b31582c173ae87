"""Tasks of files: the labels of Python sources and of text, their splits, and windows of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from statescope import (
    SourceCode,
    Text,
    generator_for,
)
from statescope.probe.tasks.base import group_of
from statescope.probe.tasks.corpus import EmptyCorpusError
from statescope.probe.tasks.python_labels import UnreadableSourceError, bytes_since_change, label_bytes

SOURCE = '''\
def f(a, b=(1, [2])):
    # a "comment" (
    if a:
        return "x)" + r'q'
    return {1: (2)}
x = """two
lines"""
'''


def test_labels_are_what_is_true_after_each_byte() -> None:
    labels = label_bytes(SOURCE.encode())
    text = SOURCE
    depth = labels["bracket_depth"]
    assert [depth[text.index(part)] for part in ("(a,", "(1,", "[2", "2]", "])):", ")):", "):\n")] == [1, 2, 3, 3, 2, 1, 0]
    string = labels["in_string"]
    opening, closing = text.index('"x)"'), text.index('"x)"') + 3
    assert string[opening : closing + 1].tolist() == [1, 1, 1, 0]
    assert string[text.index("r'q'") : text.index("r'q'") + 4].tolist() == [0, 1, 1, 0]
    triple = text.index('"""two')
    assert string[triple : triple + len('"""two\nlines"""')].tolist() == [1] * 14 + [0]
    comment = labels["in_comment"]
    assert comment[text.index("# a") : text.index("    if")].tolist() == [1] * len('# a "comment" (') + [0]
    assert string[text.index('"comment"')] == 0
    assert depth[text.index("# a") + 14] == 0
    parameters = labels["in_parameters"]
    assert [parameters[text.index(part)] for part in ("f(a", "(a,", "(1,", "):\n", "(2)")] == [0, 1, 1, 0, 0]
    indentation = labels["indentation"]
    assert [indentation[text.index(part)] for part in ("def", "if a", 'return "', "return {", "x = ")] == [0, 1, 2, 1, 0]


def test_labels_count_bytes_and_not_characters() -> None:
    labels = label_bytes('é = "ü"  # ß\n'.encode())
    assert labels["in_string"].tolist() == [0] * 5 + [1, 1, 1, 0] + [0] * 7
    assert labels["in_comment"].tolist() == [0] * 11 + [1, 1, 1, 1, 0]


def test_labels_agree_with_a_scanner_on_the_standard_library() -> None:
    """A second, independent reading: brackets outside strings and comments open and close one by one."""
    import json.decoder

    source = Path(json.decoder.__file__).read_bytes()
    labels = label_bytes(source)
    quiet = (labels["in_string"] == 0) & (labels["in_comment"] == 0)
    depth = 0
    for index, byte in enumerate(source):
        open_before = index > 0 and (labels["in_string"][index - 1] or labels["in_comment"][index - 1])
        if quiet[index] and not open_before:
            depth += (byte in b"([{") - (byte in b")]}")
        assert labels["bracket_depth"][index] == min(depth, 4)


def marked(source: str, label: str) -> list[str]:
    """The label of each byte as a digit, line by line."""
    digits = "".join(str(value) for value in label_bytes(source.encode())[label])
    lines = source.splitlines(keepends=True)
    starts = [sum(len(line) for line in lines[:i]) for i in range(len(lines))]
    return [digits[start : start + len(line)] for start, line in zip(starts, lines, strict=True)]


def test_a_block_ends_behind_what_it_holds() -> None:
    """Not at the next statement: blank lines and shallower comments between them lie outside, comments as deep inside."""
    source = "if a:\n  x\n  # in\n\n# out\n\ny\n"
    assert marked(source, "indentation") == ["000000", "0011", "1111111", "0", "000000", "0", "00"]
    source = "if a:\n  x\n\n  # in\n  y\n# out\n"
    assert marked(source, "indentation") == ["000000", "0011", "1", "1111111", "1111", "000000"]
    source = "if a:\n  if b:\n    x\n  # one\n    # still one\n# none\nz\n"
    deep = ["000000", "00111111", "111122", "11111111", "1" * 16, "0000000", "00"]
    assert marked(source, "indentation") == deep
    assert marked("def f(\n  # in brackets\n  a):\n  x", "indentation") == ["0" * 7, "0" * 16, "0" * 6, "001"]
    assert marked("if a:\r\n  x\r\n\r\ny\r\n", "indentation") == ["0" * 7, "00111", "00", "000"]


def test_parameters_are_those_of_the_definition() -> None:
    """The bound of a type parameter stands in brackets of its own before them; a default's parentheses stand inside."""
    assert marked("def f(a=(1)): g(2)\n", "in_parameters") == ["0000011111100000000"]
    assert marked("def f[T: (int, str)](x): 0\n", "in_parameters") == ["0" * 20 + "11" + "0" * 5]


def test_brackets_in_strings_are_text_under_every_version() -> None:
    """From Python 3.12 on the tokenizer takes f-strings apart; what is inside stays a string."""
    source = "x = f'{a[0]!r:>{w}} {{' + (b'(')\n"
    assert marked(source, "bracket_depth") == ["0" * 26 + "1" * 5 + "00"]
    assert marked(source, "in_string") == ["0" * 5 + "1" * 17 + "0" * 6 + "11000"]
    assert marked("f'''\n{x\n}''' + rf'{y}'\n", "in_string") == ["01111", "111", "111000000111100"]
    nested = "f'({', '.join(a)})' + (1)\n"  # which Python reads from 3.12 on
    if sys.version_info >= (3, 12):
        assert marked(nested, "bracket_depth") == ["0" * 22 + "11" + "00"]
        assert marked(nested, "in_string") == ["0" + "1" * 17 + "0" * 8]
    else:
        with pytest.raises(UnreadableSourceError, match="line 1 holds an f-string that Python 3.11 does not read"):
            label_bytes(nested.encode())


@pytest.mark.parametrize(
    "source", ["x = (1]\n", "x = [(1])\n", "x = {1)\n", "x = (1\n", "x = 'a\n", "# -*- coding: latin-1 -*-\nx = 1\n", "x = 1)\n"]
)
def test_a_source_that_cannot_be_tokenized_is_refused(source: str) -> None:
    with pytest.raises(UnreadableSourceError):
        label_bytes(source.encode())


def test_ages_count_from_the_last_change() -> None:
    assert bytes_since_change(np.array([0, 0, 1, 1, 1, 0], dtype=np.int16)).tolist() == [0, 1, 0, 1, 2, 0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(60):
        (tmp_path / f"m{index}.py").write_text(f"def f{index}(a, b):\n    return 'text {index}' + (a)  # note\n" * 8)
    (tmp_path / "broken.py").write_text("x = (")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "left_out.py").write_text("y = 1\n" * 100)
    return tmp_path


def test_files_are_split_without_overlap(folder: Path) -> None:
    corpus = SourceCode(folder=str(folder)).corpus
    paths = [{file.path for file in corpus.split(name)} for name in ("train", "validation", "test")]
    assert sum(map(len, paths)) == len(set.union(*paths)) == len(corpus)
    assert not any("left_out" in path or "binary" in path for part in paths for path in part)
    assert all(paths)


def test_windows_and_labels_come_from_the_same_bytes(folder: Path) -> None:
    task = SourceCode(folder=str(folder))
    batch = task.batch(6, 50, "test", generator_for(3), labels=True)
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    for row, group in enumerate(batch.groups.tolist()):
        file = next(file for file in task.corpus.split("test") if group_of(file.path) == group)
        begin = bytes(file.data).find(bytes(batch.tokens[row].tolist()))
        assert begin >= 0
        brackets = batch.labels["bracket_depth"][row]
        opened = [i for i, token in enumerate(batch.tokens[row].tolist()) if token == ord("(")]
        assert all(brackets[i] == 1 for i in opened)
        assert all(batch.labels["bracket_depth_age"][row][i] == 0 for i in opened)


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmptyCorpusError, match="does not exist"):
        _ = SourceCode(folder=str(tmp_path / "nowhere")).corpus
    with pytest.raises(EmptyCorpusError, match="has 0 files of the kind"):
        _ = SourceCode(folder=str(tmp_path)).corpus
    for index in range(3):
        (tmp_path / f"{index}.py").write_text("x = (")
    with pytest.raises(EmptyCorpusError, match="unreadable"):
        _ = SourceCode(folder=str(tmp_path), most_bytes=5).corpus


def test_windows_longer_than_every_file_are_refused(folder: Path) -> None:
    with pytest.raises(EmptyCorpusError, match="longer than 100000 bytes"):
        SourceCode(folder=str(folder)).batch(2, 100_000, "train", generator_for(0))


def test_text_labels_and_splits(tmp_path: Path) -> None:
    for index in range(60):
        (tmp_path / f"{index}.txt").write_text(f"one line {index}\nand a second, longer line of words\n" * 5)
    batch = Text(folder=str(tmp_path)).batch(4, 50, "train", generator_for(0), labels=True)
    text = bytes(batch.tokens[0].tolist()).decode()
    place = batch.labels["word_place"][0].tolist()
    assert all((place[t] > 0) == text[t].isalpha() for t in range(50))
    assert all(place[t] == place[t - 1] + 1 for t in range(1, 50) if text[t].isalpha())
    assert all(batch.labels["line_place"][0, t] == 0 for t in range(50) if text[t] == "\n")
    with pytest.raises(EmptyCorpusError, match="none left for train and test"):
        Text(folder=str(tmp_path), pattern="1.txt").batch(1, 5, "train", generator_for(0))
