"""Captures of a user's own sequences, in the forms that they come in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import Batch, Model, ModelConfig, ProbeSweep, Table, capture
from statescope.mixers import DeltaNet
from statescope.probe.captures.capture import Capture
from statescope.probe.errors import UnknownNameError
from statescope.probe.tasks.base import group_of

STATE, STREAM = "blocks.0.attn.hook_state", "blocks.0.hook_resid_post"
RAGGED = [[1, 2, 3, 4, 0], [4, 4], [3, 2, 1], [0, 1, 2], [2, 2]]


@pytest.fixture
def model() -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval()


def alone(model: Model, row: list[int], at: list[int]) -> torch.Tensor:
    """The stream of one sequence at some positions, [P, width]."""
    return model.run_with_cache(torch.tensor([row]), names_filter=STREAM)[1]["resid_post", 0][0, at].detach()


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "disk"])
def test_lists_of_different_lengths_keep_their_order_and_their_own_positions(model: Model, stored: bool, tmp_path: Path) -> None:
    kind = ["a", "b", None, "b", "a"]
    store = tmp_path / "store" if stored else None
    found = capture(model, RAGGED, [STREAM, STATE], positions="last", labels={"kind": kind}, store=store, batch_size=1)
    for sample, row in enumerate(RAGGED):
        torch.testing.assert_close(found.features(STREAM)[sample], alone(model, row, [-1])[0])
        assert found.tokens[sample].tolist() == row + [-1] * (5 - len(row))
    assert found.sample_positions.tolist() == [4, 1, 2, 2, 1]
    assert found.label("kind").tolist() == [0, 1, -100, 1, 0] and found.classes == {"kind": ("a", "b")}
    assert found.features(STATE).shape == (5, 2 * 4 * 4)
    every = capture(model, RAGGED)  # the residual stream at all positions
    assert every.hooks == [STREAM] and every.sample_positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 0, 1, 2, 0, 1]
    torch.testing.assert_close(every.features(STREAM)[7:10], alone(model, RAGGED[2], [0, 1, 2]))


def test_tensors_arrays_and_tables_give_the_same(model: Model) -> None:
    tokens = torch.randint(0, 5, (6, 4))
    label = torch.arange(6) % 2
    names = [f"speaker {index // 2}" for index in range(6)]
    table = pd.DataFrame({"tokens": tokens.tolist(), "odd": label.numpy() == 1, "who": names})
    by_batch = capture(model, [Batch(tokens, tokens, {"odd": label[:, None].expand(6, 4)})], positions=[1, 3])

    class Dataset:
        def to_pandas(self) -> pd.DataFrame:
            return table

    found = [
        capture(model, tokens, positions=[1, 3], labels={"odd": label}, groups=names),
        capture(model, tokens.numpy(), positions=[1, 3], labels={"odd": label.bool()}, groups=np.array(names)),
        capture(model, table, positions=[1, 3], labels=["odd"], groups="who"),
        capture(model, Dataset(), positions=[1, 3], labels=["odd"], groups="who"),
        capture(model, iter([Batch(tokens, tokens, {"odd": label[:, None].expand(6, 4)})]), positions=[1, 3]),
    ]
    for one in found:
        torch.testing.assert_close(one.features(STREAM), by_batch.features(STREAM))
        assert torch.equal(one.label("odd"), by_batch.label("odd")) and one.positions == (1, 3)
    assert all(one.groups.tolist() == [group_of(name) for name in names] for one in found[:4])
    assert len(found[4].groups.unique()) == len(tokens.unique(dim=0))
    with pytest.raises(UnknownNameError, match="column 'od' is not known; did you mean 'odd'"):
        capture(model, table, labels=["od"])


def test_columns_of_a_filtered_or_shuffled_table_are_read_in_their_order(model: Model) -> None:
    table = pd.DataFrame({"tokens": RAGGED, "kind": ["a", "b", "c", "b", "a"], "who": list("vwxyz")})
    for rows in (table[table["kind"] != "b"], table.iloc[[3, 0, 4, 1]]):
        found = capture(model, rows["tokens"], positions="last", labels={"kind": rows["kind"]}, groups=rows["who"])
        assert [found.classes["kind"][number] for number in found.label("kind").tolist()] == rows["kind"].tolist()
        assert found.groups.tolist() == [group_of(name) for name in rows["who"]]
        torch.testing.assert_close(found.features(STREAM)[0], alone(model, rows["tokens"].iloc[0], [-1])[0])


def test_a_batch_has_a_label_for_each_token(model: Model) -> None:
    tokens = torch.zeros(3, 4, dtype=torch.long)
    for wrong, said in ((torch.zeros(3), "is (3,)"), (torch.zeros(4, 3), "is (4, 3)"), (["a", "b", "c"], "is a list")):
        with pytest.raises(ValueError, match=f"label 'kind' {re.escape(said)}; a batch needs a tensor with a number for each"):
            Batch(tokens, tokens, {"kind": wrong})  # type: ignore[dict-item]


def test_labels_are_for_sequences_tokens_or_captured_positions(model: Model) -> None:
    tokens = torch.randint(0, 5, (3, 4))
    labels = {
        "sequence": [1.5, float("nan"), 2.0],
        "token": [["x", "y", "x", "z"]] * 3,
        "captured": torch.tensor([[7, 8], [9, 7], [8, -100]]),
        "mixed": [1, 2.5, -100],
    }
    found = capture(model, tokens, positions=[1, 3], labels=labels)
    assert found.label("sequence").tolist()[:2] == [1.5, 1.5] and found.label("sequence")[2:4].isnan().all()
    assert found.label("token").tolist() == [1, 2] * 3 and found.classes["token"] == ("x", "y", "z")
    assert found.label("captured").tolist() == [7, 8, 9, 7, 8, -100]
    assert found.label("mixed").tolist()[:4] == [1, 1, 2.5, 2.5] and found.label("mixed")[4:].isnan().all()
    with pytest.raises(ValueError, match="give one, one a token \\(4\\), or one a captured position \\(2\\)"):
        capture(model, tokens, positions=[1, 3], labels={"y": [[1, 2, 3]] * 3})
    with pytest.raises(ValueError, match="label 'y' has 2 entries; there are 3 sequences"):
        capture(model, tokens, labels={"y": [1, 2]})
    with pytest.raises(TypeError, match="mixes text with int"):
        capture(model, tokens, labels={"y": ["a", 1, "b"]})


def test_a_source_is_one_in_captures_and_tables_whatever_its_type(model: Model, tmp_path: Path) -> None:
    tokens = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4]])
    content = capture(model, tokens, groups=None).groups.tolist()
    spellings = [
        (list(torch.tensor([1, 2, 1, 3])), []),
        (torch.tensor([1, 2, 1, 3]), []),
        (np.array([1.0, np.nan, 1.0, np.nan]), [1, 3]),
        (["1", "", "1.0", "speaker"], [1]),
        ([1, None, np.float32(1), pd.NA], [1, 3]),
        ([1, pd.NaT, "1", 2**62 + 1], [1]),
        (pd.array([1, None, 1, 2], dtype="Int64"), [1]),
        (range(1, 5), []),
    ]
    for groups, missing in spellings:
        found = capture(model, tokens, groups=groups).groups.tolist()
        expected = [
            content[i] if i in missing else group_of(one.item() if isinstance(one, torch.Tensor) else one)
            for i, one in enumerate(groups)
        ]
        assert found == expected and found[0] == 1
    (tmp_path / "mine.csv").write_text("tokens,split,group\n0 1,train,1\n1 2,test,1.0\n")
    assert Table(str(tmp_path / "mine.csv")).rows["group"].tolist() == [1, 1]
    for strange in ([[1], [2], [3], [4]], [1j] * 4, [float("inf")] * 4, [2.0**60] * 4):
        with pytest.raises(ValueError, match="groups: that of sequence 0 is"):
            capture(model, tokens, groups=strange)


def test_a_label_that_is_missing_beside_numbers_is_no_label(model: Model) -> None:
    table = pd.DataFrame({"tokens": [[0, 1], [1, 2], [2, 3]], "class": pd.array([4, None, 6], dtype="Int64")})
    labels = {"class": table["class"].tolist(), "flag": [True, None, False], "value": [0.5, None, pd.NA]}
    found = capture(model, table["tokens"].tolist(), positions="last", labels=labels)
    assert (
        found.label("class").tolist()
        == [4, -100, 6]
        == capture(model, table, positions="last", labels=["class"]).label("class").tolist()
    )
    assert found.label("flag").tolist() == [1, -100, 0] and not found.classes
    assert found.label("value")[0] == 0.5 and found.label("value")[1:].isnan().all()


def test_padding_is_cut_off_before_the_model_runs(model: Model) -> None:
    padded = torch.tensor([[4, 4, 1, 2], [3, 2, 1, 0], [1, 3, 4, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    token = [[9, 9, 5, 6], [1, 2, 3, 4], [7, 8, 9, 9]]
    found = capture(model, padded, labels={"t": token}, mask=mask)
    rows = [[1, 2], [3, 2, 1, 0], [1, 3]]
    expected = torch.cat([alone(model, row, list(range(len(row)))) for row in rows])
    torch.testing.assert_close(found.features(STREAM), expected)
    assert found.label("t").tolist() == [5, 6, 1, 2, 3, 4, 7, 8]
    with pytest.raises(ValueError, match="mask of sequence 0 must be as long as it"):
        capture(model, padded, mask=torch.tensor([[1, 0, 1, 1]] * 3))
    with pytest.raises(ValueError, match="mask has 1 rows"):
        capture(model, padded, mask=mask[:1])


def test_what_is_no_sequence_is_refused(model: Model) -> None:
    for bad in ([], [[]], [[0.5, 1.0]], torch.rand(2, 3)):
        with pytest.raises(ValueError, match="sequence"):
            capture(model, bad)
    with pytest.raises(ValueError, match="no tokenizer"):
        capture(model, ["to be"])
    with pytest.raises(TypeError, match="batches bring their own labels"):
        capture(model, [Batch(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2))], labels={"y": [1]})
    with pytest.raises(TypeError, match="columns of a table"):
        capture(model, torch.zeros(1, 2, dtype=torch.long), labels=["y"])


def test_text_is_read_by_the_models_tokenizer(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "to_tokens", lambda text: torch.tensor([[int(letter) for letter in text]]), raising=False)
    found = capture(model, ["1234", "40"], positions="last", labels={"y": ["up", "down"]})
    torch.testing.assert_close(found.features(STREAM)[1], alone(model, [4, 0], [-1])[0])


def test_ones_own_labels_go_through_a_sweep(model: Model) -> None:
    rows = [np.random.default_rng(seed).integers(0, 5, 4 + seed % 3).tolist() for seed in range(160)]
    last = [["even", "odd"][row[-1] % 2] for row in rows]
    whole: Capture = capture(model, rows, positions="last", labels={"parity": last})
    table = ProbeSweep(control_context=3).cross_validate(whole).table
    assert table["accuracy"].item() > 0.9 and table["samples"].item() == 160
    train, test = whole.split(0.25)
    assert not set(train.groups.tolist()) & set(test.groups.tolist()) and len(train.groups) + len(test.groups) == 160
    assert ProbeSweep(control_context=3).run(train, test).table["accuracy"].item() > 0.9
    frame = test.to_frame()
    assert list(frame.columns) == ["sequence", "position", "token", "group", "parity"]
    assert [["even", "odd"][token % 2] for token in frame["token"]] == frame["parity"].tolist()
    with pytest.raises(ValueError, match="leaves one side empty"):
        whole.split(0.0)


@pytest.mark.filterwarnings("error")
def test_arrays_that_may_not_be_written_to_are_read(model: Model) -> None:
    """Such are those of pandas; a capture owns what it holds, whatever becomes of them."""
    tokens, labels = np.arange(6).reshape(2, 3) % 4, np.array([0, 1])
    tokens.flags.writeable = labels.flags.writeable = False
    assert capture(model, tokens, ["hook_embed"], labels={"kind": list(labels)}).label("kind").tolist() == [0, 0, 0, 1, 1, 1]
