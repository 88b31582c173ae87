"""Erasure inside a model: what fresh probes find, at the erased activation and behind it, and what the output loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statescope import DeltaNet, Model, ModelConfig, Training, capture, train
from statescope.analyses.behaviour.erasure_effect import ErasureEffect, erasure_effect
from statescope.analyses.behaviour.measures import token_loss
from statescope.directions import Eraser, Leace, MeanProjection, OracleLeace
from statescope.estimators import Perceptron, Ridge
from statescope.probe.results.result import Result
from statescope.probe.tasks.base import Batch
from statescope.tasks import Sentiment, generator_for

HOOK, LATER, STATE = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.0.attn.hook_state"
TASK = Sentiment()


@pytest.fixture(scope="module")
def model() -> Model:
    model = Model(ModelConfig(TASK.vocabulary, width=16, layers=2, mixer=DeltaNet(heads=2, key_size=4, value_size=4)))
    train(model, TASK, Training(steps=60, batch=16, length=20, learning_rate=1e-2), seed=0)
    return model.eval()


def batches(split: str, stream: int) -> list[Batch]:
    return [TASK.batch(40, 20, split, generator_for(0, stream + index), labels=True) for index in range(3)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def effect(model: Model) -> ErasureEffect:
    seen = capture(model, batches("validation", 1), [HOOK])
    where = {"hook": HOOK, "name": "sentiment"}
    erasers = {
        fitter.kind: fitter.fit(seen.features(HOOK), seen.label("sentiment"), **where) for fitter in (Leace(), MeanProjection())
    }
    return erasure_effect(
        model,
        erasers,
        batches("validation", 1),
        batches("test", 50),
        "sentiment",
        hooks=[LATER],
        estimators=[Ridge(), Perceptron(penalties=(0.01,), iterations=60)],
        randoms=2,
        name="tiny",
    )


def test_a_linear_probe_finds_nothing_where_it_was_erased_and_a_network_does(effect: ErasureEffect) -> None:
    table = effect.to_frame().set_index(["eraser", "estimator", "hook"])
    majority = table["majority"].iloc[0]
    for eraser in ("leace", "mean_projection"):
        assert abs(table.loc[(eraser, "ridge", HOOK), "score"] - majority) < 0.02
        assert table.loc[(eraser, "perceptron", HOOK), "score"] > majority + 0.1
        assert table.loc[(eraser, "ridge", LATER), "score"] > majority + 0.1  # the next layer finds it again
    assert table.loc[("nothing", "ridge", HOOK), "score"] > majority + 0.15
    assert table.loc[("random, rank 2", "ridge", HOOK), "score"] > majority + 0.15
    assert table.loc[("leace", "ridge", HOOK), "moved"] < table.loc[("mean_projection", "ridge", HOOK), "moved"] < 1
    assert (table.loc["nothing", "change"] == 0).all() and (table.loc["nothing", "moved"] == 0).all()


def test_the_change_of_the_output_is_that_of_the_hook_by_hand(model: Model, effect: ErasureEffect) -> None:
    seen = capture(model, batches("validation", 1), [HOOK])
    eraser = Leace().fit(seen.features(HOOK), seen.label("sentiment"), hook=HOOK, name="sentiment")
    changes = []
    with torch.no_grad():
        for batch in batches("test", 50):
            changed = model.run_with_hooks(batch.tokens, fwd_hooks=[(HOOK, lambda value, hook: eraser(value))])
            changes.append(token_loss(changed, batch) - token_loss(model(batch.tokens), batch))
    row = effect.select(eraser="leace", estimator="ridge", hook=HOOK).to_frame().iloc[0]
    assert row["change"] == pytest.approx(float(torch.cat(changes).nanmean()), abs=1e-6)
    assert row["change_low"] < row["change"] < row["change_high"] and row["change"] > 0.01


def test_it_says_and_shows_what_was_found(effect: ErasureEffect, tmp_path: object) -> None:
    assert "tiny, sentiment at 0 resid_post, leace (rank 2): ridge" in effect.summary()
    assert effect.specification().panels[0].level[1] == "majority"  # type: ignore[index]
    found = Result.load(effect.save(f"{tmp_path}/erased.parquet"))
    assert isinstance(found, ErasureEffect) and found.summary() == effect.summary()
    assert not effect.to_frame().drop(columns=["low", "high"]).isna().any().any()


def test_a_state_is_erased_at_one_position_and_what_follows_knows_less(model: Model) -> None:
    seen = capture(model, batches("validation", 1), [STATE], positions=[2])
    eraser = Leace().fit(seen.features(STATE), seen.label("sentiment"), hook=STATE, name="sentiment")
    effect = erasure_effect(
        model,
        {"leace": eraser},
        batches("validation", 1),
        batches("test", 50),
        "sentiment",
        positions=[2],
        estimators=[Ridge(penalties=(0.01,))],
        randoms=1,
    )
    scores = effect.to_frame().set_index("eraser")
    assert scores.loc["leace", "score"] < scores.loc["leace", "majority"] + 0.1 < scores.loc["nothing", "score"]
    assert scores.loc["leace", "change"] != 0
    with pytest.raises(RuntimeError, match="tap one position"):
        erasure_effect(model, {"leace": eraser}, batches("validation", 1), batches("test", 50), "sentiment", positions=[2, 9])


def test_erasers_of_different_activations_are_refused(model: Model) -> None:
    def random(hook: str) -> Eraser:
        axis = torch.eye(16, 1, dtype=torch.float64)
        return Eraser(axis, axis.T, torch.zeros(16, dtype=torch.float64), hook, "c")

    with pytest.raises(ValueError, match="of one activation"):
        erasure_effect(model, {"a": random(HOOK), "b": random(LATER)}, batches("validation", 1), batches("test", 50), "topic")
    like = random(HOOK)
    drawn = Eraser.random(like, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(drawn.right @ drawn.left, np.eye(1), atol=1e-12)
    assert drawn.rank == like.rank and drawn.hook == like.hook


def test_batches_of_different_lengths_are_moved_by_what_there_is(model: Model) -> None:
    """The padding of shorter sequences in a capture is no activation: what is moved is that of all samples together."""

    def ragged(split: str, stream: int) -> list[Batch]:
        return [TASK.batch(12, length, split, generator_for(0, stream + length), labels=True) for length in (14, 20)]  # type: ignore[arg-type]

    seen, test = (capture(model, ragged(*which), [HOOK]) for which in (("validation", 1), ("test", 50)))
    eraser = Leace().fit(seen.features(HOOK), seen.label("sentiment"), hook=HOOK, name="sentiment")
    about = {"estimators": [Ridge()], "randoms": 0}
    found = erasure_effect(model, {"leace": eraser}, ragged("validation", 1), ragged("test", 50), "sentiment", **about).to_frame()
    x = test.features(HOOK)
    expected = float((eraser(x) - x).square().sum() / (x - x.mean(0)).square().sum())
    assert found.set_index("eraser").loc["leace", "moved"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("hook", "positions"), [(HOOK, "all"), (STATE, [12])])
def test_an_eraser_that_is_told_the_label_leaves_a_linear_probe_nothing(model: Model, hook: str, positions: object) -> None:
    seen = capture(model, batches("validation", 1), [hook], positions=positions)
    where = {"hook": hook, "name": "sentiment"}
    erasers = {
        "oracle": OracleLeace().fit(seen.features(hook), seen.label("sentiment"), **where),
        "leace": Leace().fit(seen.features(hook), seen.label("sentiment"), **where),
    }
    run = {"positions": positions, "estimators": [Ridge()], "randoms": 1}
    found = erasure_effect(model, erasers, batches("validation", 1), batches("test", 50), "sentiment", **run)
    table = found.to_frame().set_index("eraser")
    assert table.loc["oracle", "score"] < table.loc["nothing", "score"] - 0.05
    assert table.loc["oracle", "moved"] < table.loc["leace", "moved"]  # which may not look at the label
    assert table.loc["oracle", "rank"] == 2 and [name for name in table.index if "random" in name] == ["random, rank 2"]
    turned = [Batch(b.tokens, b.targets, {"sentiment": b.labels["sentiment"].roll(1, 0)}, b.groups) for b in batches("test", 50)]
    wrong = erasure_effect(model, {"oracle": erasers["oracle"]}, batches("validation", 1), turned, "sentiment", **run).to_frame()
    assert wrong.set_index("eraser").loc["oracle", "change"] != table.loc["oracle", "change"]  # each batch has its own labels
