"""Probes against scikit-learn, against planted concepts, and against what they must not be fooled by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from statescope import ProbeSweep
from statescope.probe.captures.capture import Capture
from statescope.probe.errors import UnknownNameError
from statescope.probe.estimators.linear_models import LogisticModels, RidgeModels
from statescope.probe.estimators.ridge import RidgePath, RidgeProbe
from statescope.probe.statistics.controls import control_labels, group_bootstrap, group_folds, majority_accuracy
from statescope.probe.statistics.scores import ProbeScores


def planted(
    groups: int, seed: int, *, strength: float = 2.0, features: int = 12, positions: int = 4, offset: int = 0, world: int = 99
) -> Capture:
    """Activations that hold a three-valued concept along fixed directions, and noise that holds nothing."""
    shared, own = torch.Generator().manual_seed(world), torch.Generator().manual_seed(seed)
    directions = torch.randn(3, features, generator=shared)
    tokens = torch.randint(0, 5, (groups * 3, 8), generator=own)
    label = torch.randint(0, 3, (groups * 3, positions), generator=own)
    noise = torch.randn(groups * 3, positions, features, generator=own)
    held = noise + strength * directions[label]
    nothing = torch.randn(groups * 3, positions, features, generator=own)
    return Capture(
        {"blocks.0.hook_resid_post": held, "blocks.1.hook_resid_post": nothing},
        {"concept": label},
        tokens,
        torch.arange(groups).repeat_interleave(3) + offset,
        tuple(range(4, 4 + positions)),
    )


@pytest.mark.parametrize("shape", [(200, 10), (40, 90)], ids=["primal", "dual"])
def test_ridge_is_scikit_learns_ridge(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.integers(0, 3, shape[0])
    x[:, 0] = 7.0  # a constant feature
    probe = RidgeProbe(penalty=0.03).fit(x, y)
    scaled = StandardScaler().fit_transform(x)
    theirs = RidgeClassifier(alpha=0.03 * shape[0], solver="svd").fit(scaled, y)
    # scikit-learn codes classes as -1, 1 and not 0, 1: its scores are 2 s - 1
    np.testing.assert_allclose(2 * probe.decision_function(x) - 1, theirs.decision_function(scaled), atol=1e-8)
    assert (probe.predict(x) == theirs.predict(scaled)).all()


def test_ridge_solves_its_normal_equations() -> None:
    x, y = torch.randn(60, 7, dtype=torch.float64), torch.randn(60, 2, dtype=torch.float64)
    path = RidgePath(x, y)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    for penalty in (1e-3, 1.0):
        w = path.weights(penalty)
        torch.testing.assert_close(z.T @ z @ w + penalty * 60 * w, z.T @ (y - y.mean(0)))
        weights, intercept = path.linear(penalty)
        torch.testing.assert_close(x @ weights + intercept, path.predict(x, penalty))


def test_logistic_is_scikit_learns_and_its_weights_give_its_answers() -> None:
    x = torch.randn(300, 5)
    y = (x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 0.0]) + 0.3 * torch.randn(300) > 0).long() + (x[:, 3] > 1).long()
    models = LogisticModels(x, {"a": y, "b": (y > 0).long()})
    scaled = StandardScaler().fit_transform(x.numpy())
    theirs = LogisticRegression(C=1 / (0.01 * 300), max_iter=300).fit(scaled, y.numpy())
    guess = models.predict(x, 0.01)
    assert (guess["a"].numpy() == theirs.predict(scaled)).mean() > 0.99
    for target in ("a", "b"):
        weights, intercepts = models.linear(target, 0.01)
        assert ((x.double() @ weights.T.double() + intercepts).argmax(1) == guess[target]).float().mean() > 0.99


@pytest.mark.parametrize("models", [RidgeModels, LogisticModels])
def test_linear_weights_give_the_same_answers(models: type) -> None:
    x, y = torch.randn(100, 6), torch.randint(0, 4, (100,))
    fitted = models(x, {"y": y})
    weights, intercepts = fitted.linear("y", 0.1)
    assert torch.equal((x.double() @ weights.T.double() + intercepts).argmax(1), fitted.predict(x, 0.1)["y"])


@pytest.mark.parametrize("estimator", ["ridge", "logistic"])
def test_a_planted_concept_is_found_where_it_is_and_nowhere_else(estimator: str) -> None:
    sweep = ProbeSweep(estimator=estimator, penalties=(1e-2, 1e-1))  # type: ignore[arg-type]
    table = sweep.run(planted(40, 1), planted(40, 2, offset=1000)).to_frame().set_index("layer")
    assert table.loc[0, "accuracy"] > 0.95
    assert table.loc[0, "selectivity"] > 0.4
    assert abs(table.loc[1, "accuracy"] - 1 / 3) < 0.1
    assert table.loc[0, "low"] <= table.loc[0, "accuracy"] <= table.loc[0, "high"]
    assert abs(table.loc[0, "majority"] - 1 / 3) < 0.08


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
            torch.arange(90),
            (3, 5),
        )

    scores = ProbeSweep(penalties=(1e-4,)).run(tokens_only(0), tokens_only(1)).to_frame().iloc[0]
    assert scores["accuracy"] == 1.0
    assert scores["control"] == 1.0
    assert scores["selectivity"] == 0.0


def test_probes_by_position_see_their_position_only() -> None:
    train, test = planted(40, 1, positions=3), planted(40, 2, positions=3)
    # destroy the concept at the second position
    for found in (train, test):
        found.activations["blocks.0.hook_resid_post"][:, 1] = torch.randn(120, 12)
    table = ProbeSweep(by_position=True).run(train, test, hooks=["blocks.0.hook_resid_post"]).to_frame().set_index("position")
    assert table.index.tolist() == [4, 5, 6]
    assert table.loc[4, "accuracy"] > 0.9 and table.loc[6, "accuracy"] > 0.9
    assert table.loc[5, "accuracy"] < 0.5


def test_cross_validation_never_splits_a_group() -> None:
    groups = torch.randint(0, 10, (200,))
    folds = group_folds(groups, 4, seed=0)
    assert torch.stack(folds).sum(0).eq(1).all()
    for fold in folds:
        assert not set(groups[fold].tolist()) & set(groups[~fold].tolist())
    with pytest.raises(ValueError, match="needs as many groups, got 3"):
        group_folds(torch.tensor([0, 1, 2, 2]), 4, seed=0)


def test_a_weak_penalty_loses_where_noise_abounds() -> None:
    """More features than samples: cross-validation must prefer a strong penalty."""
    train = planted(12, 1, features=200, strength=0.5)
    fitted = ProbeSweep(penalties=(1e-6, 1.0)).fit(train, hooks=["blocks.0.hook_resid_post"])
    assert fitted.probes["blocks.0.hook_resid_post", -1].penalties[("concept", False)] == 1.0


def test_control_labels_depend_on_the_context_alone() -> None:
    contexts = torch.randint(0, 4, (500, 2))
    labels = torch.tensor([0, 0, 0, 1]).repeat(125)
    control = control_labels(contexts, labels, seed=1)
    seen: dict[tuple[int, ...], int] = {}
    for context, label in zip(contexts.tolist(), control.tolist(), strict=True):
        assert seen.setdefault(tuple(context), label) == label
    half = control_labels(contexts[:100], labels, seed=1)
    assert torch.equal(half, control[:100])
    assert not torch.equal(control_labels(contexts, labels, seed=2), control)
    # 16 contexts, drawn as the labels are: on average a quarter of them 1
    shares = [control_labels(torch.arange(400)[:, None], labels, seed=s).float().mean() for s in range(5)]
    assert abs(float(torch.stack(shares).mean()) - 0.25) < 0.04


def test_majority_comes_from_the_training_labels() -> None:
    assert majority_accuracy(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1])) == pytest.approx(1 / 3)


def test_the_interval_covers_the_mean_at_its_level_and_resampling_positions_would_not() -> None:
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for trial in range(150):
        level = rng.uniform(size=30)  # each group has its own accuracy, 20 samples each
        values = (rng.uniform(size=(30, 20)) < level[:, None]).astype(float).ravel()
        low, high = group_bootstrap(values, np.repeat(np.arange(30), 20), 300, trial)
        covered += low <= 0.5 <= high
        low, high = group_bootstrap(values, np.arange(600), 300, trial)
        naive += low <= 0.5 <= high
    assert covered / 150 > 0.88
    assert naive / 150 < 0.75


def test_bad_requests_are_named() -> None:
    train = planted(8, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'ridge'"):
        ProbeSweep(estimator="rigde")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="label 'conzept' is not known"):
        ProbeSweep().fit(train, labels=["conzept"])
    with pytest.raises(UnknownNameError, match="captured hook"):
        ProbeSweep().fit(train, hooks=["blocks.5.hook_resid_post"])
    train.labels["concept"].fill_(1)
    with pytest.raises(ValueError, match="has one value only"):
        ProbeSweep().fit(train)
    with pytest.raises(ValueError, match="at least two classes"):
        RidgeProbe().fit(np.zeros((3, 2)), [1, 1, 1])


def test_scores_of_models_measured_alike_can_be_joined() -> None:
    fitted = ProbeSweep().fit(planted(12, 1))
    test = planted(12, 2)
    joined = ProbeScores.join([fitted.score(test, "a"), fitted.score(test, "b")])
    assert set(joined.table["model"]) == {"a", "b"}
    other = ProbeSweep(control_context=2).fit(planted(12, 1)).score(test, "c")
    with pytest.raises(ValueError, match="not measured in the same way"):
        ProbeScores.join([joined, other])
