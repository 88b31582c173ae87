"""Studies of probing and erasure end to end at tiny settings: they finish, say what they found, and go on where they stopped."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from statescope import Model, ModelConfig, Run, Training, capture
from statescope.analyses.studies.erasure import ErasureStudy
from statescope.analyses.studies.onion import OnionStudy
from statescope.analyses.studies.othello import OthelloStudy, _Case, _swap
from statescope.analyses.studies.own_data import OwnDataStudy, read_table, sequences_of
from statescope.analyses.studies.sentiment import SentimentStudy
from statescope.app.cli import main
from statescope.directions import Leace, MeanProjection
from statescope.estimators import Ridge
from statescope.probe.configuration import BadSettingError
from statescope.probe.errors import UnknownNameError
from statescope.probe.estimators.estimator import LinearProbe
from statescope.probe.models.text import NoTokenizerError, Tokenizer
from statescope.probe.tasks.reviews import LIKED
from statescope.tasks import SourceCode, generator_for

pytestmark = pytest.mark.usefixtures("all_undrawn")


def test_erasure(tmp_path: Path) -> None:
    study = replace(
        ErasureStudy(),
        task=SourceCode(most_bytes=300_000),
        training=Training(steps=3, batch=2, length=32),
        width=16,
        label="in_string",
        windows=48,
        positions=4,
        erasers=(Leace(), MeanProjection()),
        estimators=(Ridge(folds=2),),
    )
    run = study.run(tmp_path / "run")
    assert run.result_names == ["training", "erasure_effect"]
    table = run.result("erasure_effect").to_frame()
    assert set(table["eraser"]) == {"nothing", "leace", "mean_projection", "random, rank 1"}
    assert "in_string at 0 resid_post, leace (rank 1)" in run.result("erasure_effect").summary()


def test_sentiment(tmp_path: Path) -> None:
    study = replace(SentimentStudy(), training=Training(steps=4, batch=4, length=24), width=16, sequences=16, randoms=5)
    run = study.run(tmp_path / "run")
    assert run.result_names == ["training", "probes", "direction_cosines", "causal_check"]
    table = run.result("causal_check").to_frame()
    assert set(table["model"]) == {"all words", "commas alone"} and table["effect"].between(-1, 1).all()
    assert len(run.result("direction_cosines").to_frame()) == 25
    layer = run.result("causal_check").to_frame()["hook"].iloc[0]
    assert layer in {"blocks.0.hook_resid_post", "blocks.1.hook_resid_post"}


def test_a_verdict_is_right_by_the_words_of_its_side() -> None:
    study = SentimentStudy()
    batch = study.task.batch(3, 20, "test", generator_for(0), labels=True)
    good = batch.labels["sentiment"] == 2
    logits = torch.zeros(3, 20, study.task.vocabulary)
    logits[..., study.task.tokens_of(LIKED)] = torch.where(good, 1.0, -1.0)[..., None]
    assert (study.verdict_is_right(logits, batch) == 1).all()
    assert (study.verdict_is_right(-logits, batch) == 0).all()


def labelled_tokens(folder: Path) -> tuple[Path, Path]:
    """A saved checkpoint, and a table of tokens with two labels: one that a token decides, and one that nothing does."""
    model = Model(ModelConfig(vocabulary=9, width=12, layers=2, mixer="delta_net"))
    model.save(folder / "tiny")
    generator = torch.Generator().manual_seed(0)
    rows = [
        {
            "sequence": number,
            "group": f"file {number // 2}",
            "token": token,
            "odd": "yes" if token % 2 else "no",
            "chance": chance,
        }
        for number in range(40)
        for token, chance in torch.randint(0, 9, (6 + number % 3, 2), generator=generator).tolist()
    ]
    pd.DataFrame(rows).assign(chance=lambda table: table["chance"] % 2).to_csv(folder / "tokens.csv", index=False)
    return folder / "tiny", folder / "tokens.csv"


def test_own_data_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, data = labelled_tokens(tmp_path)
    monkeypatch.chdir(tmp_path)
    main(["probe", str(checkpoint), str(data), "--label", "odd", "--out", "odd"])
    found = Run(tmp_path / "odd").result("probes")
    table = found.to_frame().set_index("hook")
    assert table.loc["blocks.0.hook_resid_post", "accuracy"] > 0.85 and (table["model"] == "tiny").all()
    assert found.about["data"] == "tokens.csv" and found.about["test_groups"] == 20
    main(["run", "own-data", "--checkpoint", str(checkpoint), "--data", str(data), "--label", "chance", "--out", "chance"])
    assert (Run(tmp_path / "chance").result("probes").to_frame()["p_value"] > 0.02).all()


def test_own_data_says_what_is_missing(tmp_path: Path) -> None:
    checkpoint, data = labelled_tokens(tmp_path)
    given, model = {"checkpoint": str(checkpoint), "data": str(data)}, Model(ModelConfig(9, 4))
    with pytest.raises(BadSettingError, match="label is missing"):
        OwnDataStudy(**given).check()
    with pytest.raises(BadSettingError, match="nowhere does not exist"):
        OwnDataStudy(checkpoint="nowhere", data=str(data), label="odd").check()
    with pytest.raises(UnknownNameError, match="did you mean 'odd'"):
        sequences_of(pd.read_csv(data), "ood", model)
    with pytest.raises(BadSettingError, match="several groups"):
        sequences_of(pd.read_csv(data).assign(group=range(len(pd.read_csv(data)))), "odd", model)
    with pytest.raises(BadSettingError, match='needs a column "sequence"'):
        sequences_of(pd.read_csv(data).drop(columns="sequence"), "odd", model)
    with pytest.raises(BadSettingError, match=r'a column "token" \(ids\) or "word" \(text\).*here are sentence, odd'):
        sequences_of(pd.DataFrame({"sentence": [0], "odd": [1]}), "odd", model)
    words = pd.DataFrame({"sequence": [0, 0], "word": ["a", "b"], "odd": [1, 0]})
    with pytest.raises(BadSettingError, match="holds 'a'; it takes token ids. Text has the column \"word\""):
        sequences_of(words.rename(columns={"word": "token"}), "odd", model)
    with pytest.raises(NoTokenizerError, match="read_tokenizer"):
        sequences_of(words, "odd", model)
    (tmp_path / "data.txt").write_text("x")
    with pytest.raises(BadSettingError, match=r"a \.csv or a \.parquet file"):
        read_table(tmp_path / "data.txt")
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(BadSettingError, match="cannot be read as a table"):
        read_table(tmp_path / "bad.parquet")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(BadSettingError, match="is no file"):
        read_table(tmp_path / "pipe.csv")


def test_a_word_has_its_label_at_its_last_token(tmp_path: Path) -> None:
    """Also where the tokenizer writes it in several tokens, and where it begins each text with one of its own."""
    model = Model(ModelConfig(vocabulary=40, width=4, layers=1))
    backend = Backend(WordPiece({"[UNK]": 0, "[CLS]": 1, "the": 2, "cat": 3, "##ty": 4, "null": 5}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    model.tokenizer = Tokenizer(backend)
    rows = [(0, "the", "other"), (0, "catty", "noun"), (0, "null", "noun"), (1, "cat", "noun"), (1, "(the)", "")]
    pd.DataFrame(rows, columns=["sequence", "word", "kind"]).to_csv(tmp_path / "words.csv", index=False)
    read = sequences_of(read_table(tmp_path / "words.csv"), "kind", model)
    assert read["tokens"] == [[1, 2, 3, 4, 5], [1, 3, 0, 2, 0]]
    first, second = read["labels"]["kind"]
    assert first == [None, "other", None, "noun", "noun"] and second[:4] == [None, "noun", None, None] and pd.isna(second[4])
    kept = capture(model, hooks=["blocks.0.hook_resid_post"], **read)
    assert kept.classes["kind"] == ("noun", "other")


def test_onion(tmp_path: Path) -> None:
    training = Training(steps=3, batch=4, length=8)
    study = OnionStudy(training=training, networks=2, size=8, fit_steps=2, sequences=16)
    run = study.run(tmp_path / "run")
    assert run.result_names == ["training", "probes", "sequence_edits", "stored_layers"]
    edits = run.result("sequence_edits")
    assert edits.table.groupby(["model", "edit"]).size().eq(4 + 1).all() and edits.table["model"].nunique() == 2
    assert edits.table["exact"].between(0, 1).all()
    assert "do not repeat their sequences yet" in edits.summary(), "three steps teach nothing, and it is said"
    assert set(run.result("probes").table["label"]) == {f"token {place}" for place in range(4)}
    with pytest.raises(BadSettingError, match="half to store"):
        replace(study, training=replace(training, length=7)).check()
    with pytest.raises(BadSettingError, match="no subspace"):
        replace(study, size=3).check()


def test_othello(tmp_path: Path) -> None:
    training = Training(steps=4, batch=4, length=8)
    study = replace(OthelloStudy(), training=training, width=16, layers=2, games=40, edited=12, strengths=(1.0,))
    run = study.run(tmp_path / "run")
    frames, edits = (run.result(name).to_frame() for name in ("board_frames", "board_edits"))
    assert set(frames["frame"]) == {"mine and yours", "black and white"} and len(frames) == 4
    assert edits["edit"].tolist() == ["played board", "none", "probe", "random"] and (edits["errors"] >= 0).all()
    assert edits["positions"].nunique() == 1 and 0 < edits["positions"].iloc[0] <= 12
    assert "After the best edit the model" in run.result("board_edits").summary()


def test_a_swap_moves_the_scores_of_both_colours_apart_by_two() -> None:
    weights = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe = LinearProbe(weights, torch.zeros(3, dtype=torch.float64), torch.tensor([0, 1, 2]))

    class Fitted:
        def probe(self, hook: str, label: str) -> LinearProbe:
            return probe

    shift = _swap(Fitted(), "hook", _Case(0, 0, "square_0_0", 1, (), ()))  # type: ignore[arg-type]
    scores = probe.scores(torch.stack([torch.zeros(5), shift]))
    assert float((scores[1] - scores[0])[2] - (scores[1] - scores[0])[1]) == pytest.approx(2, abs=1e-5)
