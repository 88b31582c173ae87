"""A user's table: exact values or an error that names the row; a file that changes; a fuzz of damaged tables."""

from __future__ import annotations

from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from statescope import Table, Text, generator_for
from statescope.probe.errors import StatescopeError
from statescope.probe.tasks.base import group_of
from statescope.probe.tasks.corpus import EmptyCorpusError
from statescope.probe.tasks.table import UnreadableTableError

ROWS = "1 2 3 4,train,0 0 1 1\n5 6 7,train,1 1 0\n2 2 2 2,test,0 1 0 1\n"


def test_a_users_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("tokens,split,mood\n" + ROWS)
    batch = Table(path=str(path)).batch(8, 3, "train", generator_for(0))
    assert Table(path=str(path)).vocabulary == 8
    for tokens, targets, mood in zip(batch.tokens.tolist(), batch.targets.tolist(), batch.labels["mood"].tolist(), strict=True):
        assert (tokens, targets, mood) in (
            ([1, 2, 3], [2, 3, 4], [0, 0, 1]),
            ([2, 3, 4], [3, 4, -100], [0, 1, 1]),
            ([5, 6, 7], [6, 7, -100], [1, 1, 0]),
        )
    with pytest.raises(UnreadableTableError, match="no test row of at least 5 tokens"):
        Table(path=str(path)).batch(1, 5, "test", generator_for(0))


WRONG = [
    ("tokens,mood\n1 2,0 0\n", "has no column 'split'; it has 'tokens', 'mood'"),
    ("tokens,split\n1 x,train\n", "row 0: tokens is '1 x', not whole numbers"),
    ("tokens,split,mood\n1 2,train,0\n", "row 0: mood has 1 entries and tokens 2"),
    ("tokens,split,mood\n1 2,train,0 1 1\n", "row 0: mood has 3 entries and tokens 2"),
    ("tokens,split\n1 2,dev\n", "row 0: split is 'dev'"),
    ("tokens,split\n1 2,train\n,train\n", "row 1: tokens is '', not a sequence"),
    ("tokens,split\n1.5 2,train\n", "row 0: tokens is '1.5 2', not whole numbers"),
    ("tokens,split\n1 nan,train\n", "row 0: tokens is '1 nan', not whole numbers"),
    ("tokens,split\n1 -2,train\n", "row 0: tokens holds -2; ids are 0 or more"),
    ("tokens,split\n1 99999999999,train\n", "holds the id 99999999999, and an embedding has a row for every id"),
    ("tokens,split\n1 99999999999999999999999,train\n", "not whole numbers"),
    ("tokens,split,targets\n1 2,train,3 -5\n", "row 0: targets holds -5"),
    ("tokens,split,tokens\n1 2,train,3 4\n", "has the column 'tokens' twice; rename one"),
    ("tokens,split,\n1 2,train,3 4\n", "has a column without a name"),
    ("tokens,split\n1 2,train,9\n", "cannot be read as csv: .*Expected 2 fields in line 2, saw 3"),
    ("tokens,split,mood\n1 2,train\n", "row 0: mood is .*"),
    ("tokens,split\n", "has no row"),
    ("", "is empty; it needs the columns 'tokens' and 'split'"),
    ('tokens,split\n"1 2,train\n', "cannot be read as csv"),
    (b"tokens,split,\xe9t\xe9\n1 2,train,0 0\n", "is not text in UTF-8"),
    ("tokens,split\n1 2,train\n".encode("utf-16"), "is not text in UTF-8"),
    (bytes(range(256)) * 4, "is not text in UTF-8|cannot be read"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=range(len(WRONG)))
def test_a_table_that_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UnreadableTableError, match=message) as raised:
        _ = Table(path=str(path)).vocabulary
    assert "\n" not in str(raised.value) and "mine.csv" in str(raised.value)


def test_whole_numbers_are_exact_and_missing_ones_are_refused(tmp_path: Path) -> None:
    """Floats that are whole are taken; parts of numbers, NaN and None are refused, in tokens and in labels alike."""
    path = tmp_path / "mine.parquet"

    def write(**columns: object) -> Table:
        pd.DataFrame({"split": ["train"], **{name: [value] for name, value in columns.items()}}).to_parquet(path)
        return Table(path=str(path))

    assert write(tokens=[1.0, 2.0], mood=[True, False]).batch(1, 2, "train", generator_for(0)).tokens.tolist() == [[1, 2]]
    for tokens, mood in (
        ([1.5, 2.0], [0, 1]),
        ([1, 2], [0.0, float("nan")]),
        ([1, 2], [0, None]),
        ([1, 2], ["0", "1"]),
        ([1, 2], [2.0**70, 1.0]),
        ([float("inf"), 2.0], [0, 1]),
    ):
        with pytest.raises(UnreadableTableError, match="not whole numbers"):
            _ = write(tokens=tokens, mood=mood).vocabulary
    with pytest.raises(UnreadableTableError, match="group is .*; it must be one name or number"):
        _ = write(tokens=[1, 2], group=[1, 2]).vocabulary
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UnreadableTableError, match="cannot be read as parquet"):
        _ = Table(path=str(path)).vocabulary


def test_a_group_is_its_name_and_a_missing_one_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("tokens,split,group\n1 2,train,NA\n4 5,train,DE\n7 8,train,\n9 9,train,None\n3 3,train,\n6 6,train,DE\n")
    batch = Table(path=str(path)).batch(200, 2, "train", generator_for(0))
    found = dict(zip(batch.tokens[:, 0].tolist(), batch.groups.tolist(), strict=True))
    assert {token: found[token] for token in (1, 4, 6, 9)} == {name: group_of(text) for name, text in NAMED.items()}
    assert len(set(found.values())) == 5  # DE twice, and each of the two without a name by itself


SPELLINGS = {  # of the sources 1, 2 and none, each beside a null where the type holds one
    "int": np.array([1, 2]),
    "unsigned": np.array([1, 2], dtype="uint64"),
    "float": np.array([1.0, 2.0, np.nan]),
    "float32": np.array([1.0, 2.0, np.nan], dtype="float32"),
    "Int64": pd.array([1, 2, None], dtype="Int64"),
    "Float64": pd.array([1.0, 2.0, None], dtype="Float64"),
    "string": pd.array(["1", "2", None], dtype="string"),
    "object": np.array(["1", "2", None], dtype=object),
    "Arrow": pd.array([1, 2, None], dtype="int64[pyarrow]"),
    "category": pd.Categorical(["1", "2", None]),
    "text of floats": np.array(["1.0", "2.0", ""], dtype=object),
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_source_is_one_whatever_its_column_holds(tmp_path: Path, kind: str, spelling: str) -> None:
    groups = SPELLINGS[spelling]
    tokens: list[object] = [[7, 1], [8, 1], [9, 1]][: len(groups)]
    path = tmp_path / f"mine.{kind}"
    if kind == "csv":
        tokens = [" ".join(map(str, row)) for row in tokens]  # type: ignore[attr-defined]
    table = pd.DataFrame({"tokens": tokens, "split": "train", "group": groups})
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    rows = Table(path=str(path)).rows
    assert rows["group"].tolist()[:2] == [1, 2]
    if len(groups) == 3:
        assert rows["group"][2] not in (1, 2, *(group_of(text) for text in ("nan", "None", "<NA>", "NaT")))


def test_every_kind_of_missing_is_a_source_of_its_own(tmp_path: Path) -> None:
    """By the tokens: the same in another file, and none in common with another row."""
    path = tmp_path / "mine.parquet"
    columns = {
        "text": [None, ""],
        "float": [np.nan, np.nan],
        "Int64": pd.array([None, pd.NA], dtype="Int64"),
        "dates": pd.array([pd.NaT, pd.NaT], dtype="datetime64[ns]"),
        "null": [None, None],
    }
    found = []
    for groups in columns.values():
        pd.DataFrame({"tokens": [[1, 2], [3, 4]], "split": "train", "group": groups}).to_parquet(path)
        found.append(Table(path=str(path)).rows["group"].tolist())
    pd.DataFrame({"tokens": [[1, 2], [3, 4]], "split": "train"}).to_parquet(path)
    found.append(Table(path=str(path)).rows["group"].tolist())
    assert found == found[:1] * len(found) and len(set(found[0])) == 2


def test_large_numbers_of_groups_are_told_apart_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    large = [2**62, 2**62 + 1, None]

    def write(column: object) -> list[int]:
        names = ["tokens", "split", "group"]
        tokens = pa.array([[1, 2], [3, 4], [5, 6]])
        pa.parquet.write_table(pa.table([tokens, pa.array(["train"] * 3), column], names=names), path)  # without pandas' notes
        return Table(path=str(path)).rows["group"].tolist()

    assert write(pa.array(large))[:2] == large[:2]
    assert write(pa.array(["18446744073709551615", "01", "1.5"])) == [group_of(2**64 - 1), group_of("01"), group_of(1.5)]
    with pytest.raises(UnreadableTableError, match="row 0: group is 4.6.*e.18; .*several whole numbers round to this float"):
        write(pa.array([2.0**62, 1.5, None]))
    for strange in (pa.array([b"a"] * 3), pa.array([np.inf] * 3), pa.array([[1]] * 3)):
        with pytest.raises(UnreadableTableError, match="row 0: group is .*; it must be one name or number"):
            write(strange)


NAMED = {1: "NA", 4: "DE", 6: "DE", 9: "None"}


def test_a_changed_file_is_read_anew_by_a_new_task(tmp_path: Path) -> None:
    """Within the grain of the file system's clock too, and of the same length."""
    path = tmp_path / "mine.csv"
    for turn in range(10):
        path.write_text(f"tokens,split\n{turn} 2 3,train\n")
        assert Table(str(path)).batch(1, 3, "train", generator_for(0)).tokens[0, 0] == turn
    held = Table(str(path))
    assert held.vocabulary == 10
    path.write_text("tokens,split\n7 2 3,train\n")
    assert held.vocabulary == 10 and Table(str(path)).vocabulary == 8
    folder = tmp_path / "texts"
    folder.mkdir()
    for turn in "abc":
        for index in range(60):
            (folder / f"{index}.txt").write_text(turn * 40)
        assert set(Text(str(folder)).batch(4, 8, "train", generator_for(0)).tokens.flatten().tolist()) == {ord(turn)}


def test_a_batch_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("tokens,split\n1 2,train\n")
    for size, length in ((0, 2), (2, 0), (-1, 2)):
        with pytest.raises(ValueError, match="at least 1 sequence of at least 1 token"):
            Table(str(path)).batch(size, length, "train", generator_for(0))
    for index in range(60):
        (tmp_path / f"{index}.txt").write_text("words")
    with pytest.raises(ValueError, match="at least 1 sequence of at least 1 token"):
        Text(str(tmp_path)).batch(2, 0, "train", generator_for(0))
    with pytest.raises(EmptyCorpusError, match="longer than 5 bytes"):
        Text(str(tmp_path)).batch(2, 5, "train", generator_for(0))


def test_damaged_tables_end_in_a_sentence_or_in_right_values(tmp_path: Path) -> None:
    refused = read = 0
    for turn, path in enumerate(hostile.tables(tmp_path, 300)):
        try:
            task = Table(str(path))
            batch = task.batch(3, 2, "train", generator_for(turn))
        except StatescopeError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
            continue
        read += 1
        assert batch.tokens.dtype == torch.int64 and batch.tokens.min() >= 0 and batch.tokens.max() < task.vocabulary
        assert ((batch.targets >= 0) | (batch.targets == -100)).all() and batch.targets.max() < task.vocabulary
    assert refused > 150 and read > 10
