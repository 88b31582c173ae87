"""Studies of probing and erasure end to end at tiny settings: they finish, say what they found, and go on where they stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from statescope import Training
from statescope.analyses.studies.erasure import ErasureStudy
from statescope.analyses.studies.sentiment import SentimentStudy
from statescope.estimators import Leace, MeanProjection, Ridge
from statescope.probe.tasks.reviews import LIKED
from statescope.tasks import SourceCode, generator_for


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
