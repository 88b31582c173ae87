"""Sweeps against planted concepts, and against what they must not be fooled by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import planted
from scipy import stats

from statescope import ProbeSweep
from statescope.probe.captures.capture import Capture
from statescope.probe.errors import UnknownNameError
from statescope.probe.estimators.code_length import code_lengths
from statescope.probe.estimators.fitted_probes import SharedGroupsError
from statescope.probe.estimators.logistic import Logistic
from statescope.probe.estimators.ridge import Ridge
from statescope.probe.statistics.scores import ProbeScores

FIRST = "blocks.0.hook_resid_post"


def made(samples: int, features: torch.Tensor, labels: torch.Tensor, first_group: int = 0) -> Capture:
    """Samples [N, P, .] with labels [N, P] of N sources."""
    tokens = torch.randint(0, 50, (samples, labels.shape[1]), generator=torch.Generator().manual_seed(first_group))
    groups = torch.arange(first_group, first_group + samples)
    return Capture({"h": features}, {"y": labels}, tokens, groups, tuple(range(labels.shape[1])))


@pytest.mark.parametrize("estimator", [Ridge(penalties=(1e-2, 1e-1)), Logistic(penalties=(1e-2, 1e-1))], ids=lambda e: e.kind)
def test_a_planted_concept_is_found_where_it_is_and_nowhere_else(estimator: Ridge | Logistic) -> None:
    table = ProbeSweep(estimator=estimator).run(planted(40, 1), planted(40, 2)).to_frame().set_index("layer")
    assert table.loc[0, "accuracy"] > 0.95
    assert table.loc[0, "selectivity"] > 0.4
    assert abs(table.loc[1, "accuracy"] - 1 / 3) < 0.1
    assert table.loc[0, "low"] <= table.loc[0, "accuracy"] <= table.loc[0, "high"]
    assert abs(table.loc[0, "majority"] - 1 / 3) < 0.08
    assert table.loc[0, "p_value"] == 1 / 200 and table.loc[1, "p_value"] > 0.02
    assert abs(table.loc[0, "null"] - 1 / 3) < 0.05
    assert table.loc[0, "q_value"] == 2 / 200
    assert abs(table.loc[0, "validation"] - table.loc[0, "accuracy"]) < 0.04


def test_a_probe_that_reads_tokens_is_shown_up_by_its_control() -> None:
    """Activations that hold only the token: any label tied to the token is decoded, and so is the control task."""

    def tokens_only(seed: int) -> Capture:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, 8, (90, 6), generator=generator)
        last = tokens[:, [3, 5]]
        return Capture(
            {"blocks.0.hook_embed_like": torch.nn.functional.one_hot(last, 8).float()},
            {"odd": last % 2},
            tokens,
            torch.arange(90) + 90 * seed,
            (3, 5),
        )

    scores = ProbeSweep(estimator=Ridge(penalties=(1e-4,))).run(tokens_only(0), tokens_only(1)).to_frame().iloc[0]
    assert scores["accuracy"] == 1.0
    assert scores["control"] == 1.0
    assert scores["selectivity"] == 0.0


def test_probes_by_position_see_their_position_only() -> None:
    train, test = planted(40, 1, positions=3), planted(40, 2, positions=3)
    # destroy the concept at the second position
    for found in (train, test):
        found.activations[FIRST][:, 1] = torch.randn(120, 12)
    table = ProbeSweep(by_position=True).run(train, test, hooks=[FIRST]).to_frame().set_index("position")
    assert table.index.tolist() == [4, 5, 6]
    assert table.loc[4, "accuracy"] > 0.9 and table.loc[6, "accuracy"] > 0.9
    assert table.loc[5, "accuracy"] < 0.5


def test_majority_and_control_are_those_of_the_position() -> None:
    """Noise, with 0 in nine of ten cases at the first position and in one of ten at the second."""
    generator = torch.Generator().manual_seed(0)

    def noise(first_group: int) -> Capture:
        label = (torch.rand(400, 2, generator=generator) > torch.tensor([0.9, 0.1])).long()
        return made(400, torch.randn(400, 2, 3, generator=generator), label, first_group)

    table = ProbeSweep(by_position=True).run(noise(0), noise(1000)).to_frame()
    assert (table["majority"] > 0.85).all()
    assert (table["control"] > 0.8).all()  # over all positions it would be a coin, and 0.5
    pooled = ProbeSweep().run(noise(2000), noise(3000)).to_frame().iloc[0]
    assert abs(pooled["majority"] - 0.5) < 0.1


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_a_cell_that_cannot_be_fitted_is_a_row_that_says_why(kind: str) -> None:
    label = torch.stack([torch.zeros(80, dtype=torch.long), torch.arange(80) % 2], 1)  # not yet begun at position 0
    x = torch.randn(80, 2, 6)
    x[..., 0] += 6 * label
    train, test = made(80, x, label), made(80, x.flip(0), label.flip(0), 100)
    scores = ProbeSweep(estimator=kind, by_position=True).run(train, test)  # type: ignore[arg-type]
    table = scores.to_frame().set_index("position")
    assert np.isnan(table.loc[0, "accuracy"]) and table.loc[0, "note"] == "cannot be fitted: one value only"
    assert table.loc[0, "majority"] == 1.0
    assert table.loc[1, "accuracy"] > 0.95 and table.loc[1, "note"] == ""
    assert len(scores.figure().to_frame()) and "accuracy" in scores.summary()
    few = replace(train, groups=torch.arange(80) % 3)
    with pytest.raises(ValueError, match="4 folds needs as many groups, got 3"):
        ProbeSweep(estimator=kind).fit(few)  # type: ignore[arg-type]


def test_the_same_groups_in_train_and_test_are_refused_unless_asked_for() -> None:
    train = planted(20, 1)
    with pytest.raises(SharedGroupsError, match="20 of 20 groups of the test capture are in the training capture"):
        ProbeSweep().run(train, train)
    overlap = replace(planted(20, 2), groups=planted(20, 2).groups.where(planted(20, 2).groups > 2004, train.groups))
    with pytest.raises(SharedGroupsError, match="5 of 20 groups"):
        ProbeSweep().run(train, overlap)
    assert ProbeSweep().run(train, train, same_groups=True).table["accuracy"].max() > 0.9


def test_one_test_group_gives_no_interval_and_says_so() -> None:
    train, test = planted(20, 1), planted(20, 2)
    row = ProbeSweep().run(train, replace(test, groups=torch.full_like(test.groups, 5))).to_frame().iloc[0]
    assert row["accuracy"] > 0.9 and np.isnan(row[["low", "high", "p_value"]].astype(float)).all()
    assert "all test samples come from one group" in row["note"]


def test_samples_without_the_label_are_left_out_and_said() -> None:
    train, test = planted(30, 1), planted(30, 2)
    whole = ProbeSweep().run(train, test, hooks=[FIRST]).to_frame().iloc[0]
    for capture, share in ((train, 0.3), (test, 0.5)):
        missing = torch.rand(capture.labels["concept"].shape, generator=torch.Generator().manual_seed(0)) < share
        capture.labels["concept"][missing] = -100
        capture.activations[FIRST][missing] = 1e4  # would ruin any fit or score that it had a part in
    row = ProbeSweep().run(train, test, hooks=[FIRST]).to_frame().iloc[0]
    assert row["accuracy"] > 0.93 and row["classes"] == whole["classes"] == 3
    left = int((test.labels["concept"] != -100).sum())
    assert row["samples"] == left and f"{360 - left} test samples without the label left out" in row["note"]


def test_labels_that_different_samples_have_are_fitted_to_their_own() -> None:
    train, test = planted(30, 1), planted(30, 2)
    both = []
    for capture in (train, test):
        concept = capture.labels["concept"]
        first, second = concept.clone(), concept.clone()
        first[:, ::2], second[:, 1::2] = -100, -100
        both.append(replace(capture, labels={"odd places": first, "even places": second, "all": concept}))
    table = ProbeSweep().run(*both, hooks=[FIRST]).to_frame().set_index("label")
    assert table["samples"].to_dict() == {"odd places": 180, "even places": 180, "all": 360}
    assert (table["accuracy"] > 0.93).all()
    alone = replace(both[0], labels={"odd places": both[0].labels["odd places"]})
    own = ProbeSweep().fit(alone, hooks=[FIRST]).probe(FIRST, "odd places")
    together = ProbeSweep().fit(both[0], hooks=[FIRST]).probe(FIRST, "odd places")
    torch.testing.assert_close(own.weights, together.weights)


def test_real_labels_are_a_regression_or_an_error() -> None:
    def numbers(seed: int) -> Capture:
        capture = planted(30, seed)
        value = capture.activations[FIRST] @ torch.linspace(-1, 1, 12) + 0.3 * torch.randn(90, 4)
        value[0, 0] = float("nan")
        return replace(capture, labels={"value": value, "concept": capture.labels["concept"]})

    train, test = numbers(1), numbers(2)
    with pytest.raises(TypeError, match="'value' is a real number, and ridge tells classes apart; take a regression"):
        ProbeSweep().fit(train)
    table = ProbeSweep(estimator="ridge_regression").run(train, test, labels=["value"]).to_frame().set_index("layer")  # type: ignore[arg-type]
    truth = test.labels["value"].flatten()
    held = ~truth.isnan()
    best = torch.linalg.lstsq(
        torch.cat([train.features(FIRST), torch.ones(360, 1)], 1)[1:], train.label("value")[1:, None]
    ).solution
    guess = (torch.cat([test.features(FIRST), torch.ones(360, 1)], 1) @ best)[:, 0]
    expected = 1 - (guess - truth)[held].square().sum() / (truth[held] - train.label("value")[1:].mean()).square().sum()
    assert table.loc[0, "metric"] == "R2"
    assert table.loc[0, "accuracy"] == pytest.approx(float(expected), abs=2e-3)
    assert table.loc[0, "low"] < table.loc[0, "accuracy"] < table.loc[0, "high"] and table.loc[0, "majority"] == 0
    assert table.loc[0, "samples"] == 359 and table.loc[0, "p_value"] == 1 / 200
    assert table.loc[1, "accuracy"] < 0.1
    assert table.loc[0, "selectivity"] > 0.5


def test_an_undefined_control_says_why() -> None:
    train, test = planted(20, 1), planted(20, 2)
    for capture in (train, test):
        capture.tokens.zero_()  # one context, which draws one label
    row = ProbeSweep().run(train, test).to_frame().iloc[0]
    assert np.isnan(row["control"]) and "the control is undefined: its 1 contexts drew one value" in row["note"]
    real = [replace(capture, tokens=capture.tokens.double()) for capture in (train, test)]
    row = ProbeSweep().run(*real).to_frame().iloc[0]
    assert row["accuracy"] > 0.9 and "the inputs are real numbers" in row["note"]


def test_complex_activations_are_probed_with_both_parts() -> None:
    label = torch.arange(400)[:, None] % 2
    z = torch.complex(torch.randn(400, 1, 4), 0.1 * torch.randn(400, 1, 4) + label[..., None])
    row = ProbeSweep().run(made(200, z[:200], label[:200]), made(200, z[200:], label[200:], 200)).to_frame().iloc[0]
    assert row["accuracy"] == 1.0 and row["features"] == 8


def span(values: pd.Series) -> str:
    low, high = f"{values.min():.3f}", f"{values.max():.3f}"
    return low if low == high else f"{low} to {high}"


def test_the_summary_names_the_cell_that_validation_chose_and_never_the_best_of_all() -> None:
    train, test = planted(40, 1), planted(40, 2)
    lucky = replace(  # a second hook that only the test samples bear out
        test,
        activations={FIRST: test.activations[FIRST], "blocks.1.hook_resid_post": 3 * planted(40, 2, world=99).activations[FIRST]},
    )
    scores = ProbeSweep().run(train, lucky)
    said = scores.summary()
    assert said.startswith(f"concept, model: accuracy {scores.table['accuracy'].iloc[0]:.3f} [") and f"at {FIRST}" in said
    unlucky = replace(scores, table=scores.table.assign(validation=[0.9, 0.6], accuracy=[0.6, 0.9]))
    assert unlucky.summary().startswith("concept, model: accuracy 0.600 [") and unlucky.chosen.tolist() == [True, False]
    everywhere = ProbeSweep(by_position=True).run(planted(40, 1, strength=0.5), planted(40, 2, strength=0.5))
    values = everywhere.table[everywhere.table["hook"] == FIRST]["accuracy"]
    ends = everywhere.table.set_index("accuracy").loc[[values.min(), values.max()]]
    said = " to ".join(f"{row.Index:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in ends.itertuples())
    assert f"accuracy {said} at {FIRST} and 4 positions" in everywhere.summary()
    spread = everywhere.table["accuracy"]
    assert f"all 8 probes: {span(spread)}" in everywhere.summary()


def test_cross_validation_scores_every_sample_by_a_probe_that_has_not_seen_its_group() -> None:
    capture = planted(40, 1)
    for estimator in (Ridge(), Logistic(penalties=(1e-2, 1e-1))):
        table = ProbeSweep(estimator=estimator).cross_validate(capture).to_frame().set_index("layer")
        assert table.loc[0, "accuracy"] > 0.93 and table.loc[0, "p_value"] == 1 / 200
        assert abs(table.loc[1, "accuracy"] - 1 / 3) < 0.08
        assert (table["samples"] == 480).all()
    # features that name the group tell nothing of other groups
    named = torch.nn.functional.one_hot(capture.groups - capture.groups.min(), 40).float()[:, None].expand(-1, 4, -1)
    label = (torch.rand(40, generator=torch.Generator().manual_seed(0)) < 0.5).long().repeat_interleave(3)[:, None].expand(-1, 4)
    told = replace(capture, activations={"h": named}, labels={"y": label.contiguous()})
    assert ProbeSweep().cross_validate(told).table["accuracy"].item() < 0.65
    assert ProbeSweep().run(told, told, same_groups=True).table["accuracy"].item() == 1.0


def test_p_values_of_probes_without_a_concept_are_uniform_though_groups_are_alike() -> None:
    """Labels and activations that are each nearly constant within a sequence, and have nothing to do with each other."""
    found = []
    for seed in range(120):
        generator = torch.Generator().manual_seed(seed)

        def alike(first: int, generator: torch.Generator = generator) -> Capture:
            x = torch.randn(24, 1, 3, generator=generator) + 0.1 * torch.randn(24, 5, 3, generator=generator)
            y = (torch.rand(24, 1, generator=generator) < 0.5).long().expand(24, 5).contiguous()
            return made(24, x, y, first)

        sweep = ProbeSweep(estimator=Ridge(penalties=(0.1,)), resamples=2, permutations=99, seed=seed)
        found.append(sweep.run(alike(0), alike(100)).table["p_value"].item())
    # An accuracy has few values, and its ties count against it: p is uniform from below.
    assert stats.kstest(found, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.11 and np.mean(found) < 0.65


def test_a_weak_penalty_loses_where_noise_abounds() -> None:
    """More features than samples: cross-validation must prefer a strong penalty."""
    train = planted(12, 1, features=200, strength=0.5)
    fitted = ProbeSweep(estimator=Ridge(penalties=(1e-6, 1.0))).fit(train, hooks=[FIRST])
    assert fitted.probe(FIRST, "concept").penalty == 1.0


def test_bad_requests_are_named() -> None:
    train = planted(8, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'ridge'"):
        ProbeSweep(estimator="rigde")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="label 'conzept' is not known"):
        ProbeSweep().fit(train, labels=["conzept"])
    with pytest.raises(UnknownNameError, match="captured hook"):
        ProbeSweep().fit(train, hooks=["blocks.5.hook_resid_post"])
    fitted = ProbeSweep().fit(train)
    with pytest.raises(UnknownNameError, match="probed hook"):
        fitted.predict(train, "blocks.5.hook_resid_post", "concept")
    with pytest.raises(UnknownNameError, match="probed label 'conzept'"):
        fitted.predict(train, FIRST, "conzept")
    train.labels["concept"].fill_(1)
    with pytest.raises(
        ValueError, match="no probe can be fitted to this training capture; 'concept': cannot be fitted: one value only"
    ):
        ProbeSweep().fit(train)


def test_scores_of_models_measured_alike_can_be_joined_and_are_corrected_as_one() -> None:
    fitted = ProbeSweep().fit(planted(12, 1))
    test = planted(12, 2)
    joined = ProbeScores.join([fitted.score(test, "a"), fitted.score(test, "b")])
    assert set(joined.table["model"]) == {"a", "b"}
    np.testing.assert_allclose(joined.table["q_value"], stats.false_discovery_control(joined.table["p_value"]))
    other = ProbeSweep(control_context=2).fit(planted(12, 1)).score(test, "c")
    with pytest.raises(ValueError, match="not measured in the same way"):
        ProbeScores.join([joined, other])


def test_the_code_of_random_labels_is_no_shorter_than_the_uniform_code_and_of_a_concept_it_is() -> None:
    excess = []
    for seed in range(16):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(240, 4, generator=generator), torch.randint(0, 3, (240,), generator=generator)
        excess.append(code_lengths(Logistic(penalties=(0.1, 1.0)), x, {"y": y}, torch.arange(240) // 2, seed)["y"] - np.log2(3))
    assert np.mean(excess) > -2 * np.std(excess) / 4
    assert np.mean(excess) < 0.3  # and a careful probe pays little for it
    table = ProbeSweep(estimator=Logistic()).fit(planted(40, 1)).score(planted(40, 2)).to_frame().set_index("layer")
    assert table.loc[0, "code_length"] < 0.6 * table.loc[0, "uniform_length"] == pytest.approx(0.6 * np.log2(3))
    assert table.loc[1, "code_length"] > table.loc[1, "uniform_length"] - 0.02
    assert ProbeSweep().run(planted(40, 1), planted(40, 2)).table["code_length"].isna().all()


def test_the_code_is_its_definition() -> None:
    """Block by block, with probes of our own and a class that comes up late."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(160, 3, generator=generator)
    y = (x[:, 0] > 0).long()
    groups = torch.arange(160)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(5))
    y[order[150:]] = 2
    estimator = Logistic(penalties=(0.1,))
    bits = 10 * np.log2(3)
    for begin, end in ((10, 20), (20, 40), (40, 80), (80, 160)):
        seen, block = order[:begin], order[begin:end]
        probe = estimator.fit_many(x[seen.sort().values], {"y": y[seen.sort().values]}, groups[seen.sort().values])["y"]
        p = probe.log_probabilities(x[block]).exp()
        for row, label in zip(p, y[block].tolist(), strict=True):
            own = float(row[probe.classes == label].sum())
            bits -= np.log2((begin * own + 1) / (begin + 3))
    assert code_lengths(estimator, x, {"y": y}, groups, 5)["y"] == pytest.approx(bits / 160, rel=1e-6)
