"""Probes of one's own labels in one's own checkpoint: `statescope probe CHECKPOINT DATA --label LABEL`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa

from ...probe.captures.collect import capture
from ...probe.configuration import BadSettingError, Count, Folds
from ...probe.errors import unknown_name
from ...probe.estimators.estimator import Estimator
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.estimators.ridge import Ridge
from ...probe.loaders.load import load
from ...probe.models.text import ReadsText
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.statistics.scores import ProbeScores

TEXT = ("word", "text")
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


@dataclass(frozen=True)
class OwnDataStudy(Study, kind="own-data"):
    """Every sequence of a table runs through a checkpoint, and probes of a label are cross-validated at each hook.

    The table is a CSV or Parquet file. It has a row a token, with the columns "sequence" (its number or name), "token" (its id)
    and those of labels; or a row a word, with "word" (its text) in the place of "token", and the label is read at the last token
    of each word; or a row a sequence, with "text" or, in Parquet, "tokens". A column "group" names a sequence's source.
    """

    checkpoint: str = ""
    """The model is in this folder, with config.json and safetensors."""
    data: str = ""
    """The labelled tokens are in this file, a CSV or Parquet table."""
    label: str = ""
    """This column of the table is probed."""
    hooks: tuple[str, ...] = ("blocks.*.hook_resid_post",)
    """These activations are probed; a star stands for all layers."""
    estimator: Estimator = Ridge()
    """This is fitted at each hook, with its penalties."""
    folds: Folds = 5
    """The cross-validation has this many folds, which hold whole groups."""
    batch_size: Count = 32
    """At most this many sequences run through the model together."""

    question: ClassVar[str] = "Where does a model of yours hold a label of yours?"
    time: ClassVar[str] = "1 min"

    def check(self) -> None:
        """Raise BadSettingError where a setting is missing, or names what is not there."""
        for name in ("checkpoint", "data", "label"):
            if not getattr(self, name):
                raise BadSettingError(f"{name} is missing: statescope probe CHECKPOINT DATA --label LABEL")
        for name in ("checkpoint", "data"):
            if not Path(getattr(self, name)).exists():
                raise BadSettingError(f"{name}: {getattr(self, name)} does not exist")

    def execute(self, run: Run) -> None:
        run.compute("probes", self._probe)

    def _probe(self) -> ProbeScores:
        table, path = read_table(self.data), Path(self.data)
        model = load(self.checkpoint)
        found = capture(model, hooks=self.hooks, batch_size=self.batch_size, **sequences_of(table, self.label, model))
        sweep = ProbeSweep(estimator=self.estimator, seed=self.seed)
        scores = sweep.cross_validate(found, folds=self.folds, model=Path(self.checkpoint).name)
        about = {"data": path.name, "data_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        return replace(scores, about=dict(scores.about) | about)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV or Parquet file. Raises BadSettingError for another ending, and for a file that holds no table.

    In a column of text the words "null" and "NA" are words; in one of labels they are no label.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".parquet": pd.read_parquet}
    if path.suffix not in readers:
        raise BadSettingError(f"{path.name}: a table is a .csv or a .parquet file")
    if not path.is_file():
        raise BadSettingError(f"{path} does not exist, or is no file")
    try:
        table: pd.DataFrame = readers[path.suffix](path)
    except (OSError, ValueError, NotImplementedError, OverflowError, pa.ArrowException) as error:
        raise BadSettingError(f"{path.name} cannot be read as a table: {error}") from error
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    others = [name for name in pd.read_csv(path, nrows=0).columns if name not in TEXT]
    return pd.read_csv(path, keep_default_na=False, na_values={name: [*MISSING] for name in others})


def sequences_of(table: pd.DataFrame, label: str, model: ReadsText) -> dict[str, Any]:
    """What `capture` takes of a table: its sequences with their label and groups. model: its tokenizer reads words.

    Raises UnknownNameError for a label that is no column, BadSettingError for columns that say no sequence and for a sequence of
    several groups, NoTokenizerError for words where the model has no tokenizer.
    """
    if label not in table.columns:
        raise unknown_name("column", label, map(str, table.columns))
    groups = "group" if "group" in table.columns else None
    if {"tokens", "text"} & set(table.columns):
        return {"tokens": table, "labels": [label], "groups": groups}
    if not {"token", "word"} & set(table.columns):
        raise BadSettingError(
            'a table has a column "token" (ids) or "word" (text) with a row each, or "text" or "tokens" with a row a sequence; '
            f"the columns here are {', '.join(map(str, table.columns))}"
        )
    if "sequence" not in table.columns:
        raise BadSettingError('a table with a row a token or a word needs a column "sequence", which says what sequence it is of')
    rows = [own for _, own in table.groupby("sequence", sort=False)]
    mixed = [own["sequence"].iloc[0] for own in rows if groups and own[groups].nunique(dropna=False) > 1]
    if mixed:
        raise BadSettingError(f"sequence {mixed[0]} has tokens of several groups; a sequence has one source")
    read = [_read_tokens(own, label) if "token" in table.columns else _read_words(own, label, model) for own in rows]
    return {
        "tokens": [tokens for tokens, _ in read],
        "labels": {label: [labels for _, labels in read]},
        "groups": [own[groups].iloc[0] for own in rows] if groups else None,
    }


def _read_tokens(own: pd.DataFrame, label: str) -> tuple[Any, Any]:
    """The ids of one sequence, and the label of each."""
    ids = own["token"]
    if not pd.api.types.is_integer_dtype(ids):
        raise BadSettingError(
            f'the column "token" of sequence {own["sequence"].iloc[0]} holds {ids.iloc[0]!r}; it takes token ids. Text has the '
            'column "word", and the tokenizer of the checkpoint reads it'
        )
    return ids.to_numpy(), own[label].to_numpy()


def _read_words(own: pd.DataFrame, label: str, model: ReadsText) -> tuple[list[int], list[Any]]:
    """The ids of the words of one sequence, and the label of each word at its last token."""
    ids, ends = model.own_tokenizer().encode_words([str(word) for word in own["word"]])
    labels: list[Any] = [None] * len(ids)
    for at, value in zip(ends, own[label].tolist(), strict=True):
        labels[at] = value
    return ids, labels
