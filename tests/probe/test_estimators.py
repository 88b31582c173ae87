"""Estimators against scikit-learn and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.linear_model import Ridge as TheirRidge
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from statescope.probe.configuration import from_plain
from statescope.probe.errors import CannotFitError, UnknownNameError
from statescope.probe.estimators.estimator import Estimator, LinearProbe
from statescope.probe.estimators.gram import Centred
from statescope.probe.estimators.logistic import Logistic
from statescope.probe.estimators.quasi_newton import Problems, solve
from statescope.probe.estimators.ridge import Ridge, RidgeRegression
from statescope.probe.statistics.groups import group_folds

PENALTY = 0.03


def drawn(samples: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples + features + classes)
    mixed = torch.randn(features, features, generator=generator, dtype=torch.float64)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64) @ mixed + 5
    scores = x @ torch.randn(features, classes, generator=generator, dtype=torch.float64) / features
    noise = torch.randn(samples, classes, generator=generator)
    return x, (scores - scores.mean(0) + noise).argmax(1)


@pytest.mark.parametrize("shape", [(200, 10), (40, 90)], ids=["more samples", "more features"])
@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_is_scikit_learns_ridge(shape: tuple[int, int], classes: int) -> None:
    x, y = drawn(*shape, classes)
    x[:, 0] = 7.1  # a constant feature
    probe = Ridge(penalties=(PENALTY,)).fit_many(x, {"y": y}, torch.arange(len(x)))["y"]
    scaler = StandardScaler().fit(x.numpy())
    theirs = RidgeClassifier(alpha=PENALTY * len(x), solver="svd").fit(scaler.transform(x.numpy()), y.numpy())
    # scikit-learn codes classes as -1, 1 and not 0, 1: its scores are 2 s - 1
    ours = (2 * probe.scores(x) - 1).numpy()
    np.testing.assert_allclose(
        ours[:, 1] if classes == 2 else ours, theirs.decision_function(scaler.transform(x.numpy())), atol=1e-8
    )
    assert (probe.weights[:, 0] == 0).all()
    assert (probe.predict(x).numpy() == theirs.predict(scaler.transform(x.numpy()))).all()


def test_ridge_regression_is_scikit_learns() -> None:
    x, _ = drawn(150, 8, 2)
    y = x[:, 0] - 2 * x[:, 3] + torch.randn(150)
    probe = RidgeRegression(penalties=(PENALTY,)).fit_many(x, {"y": y}, torch.arange(150))["y"]
    scaler = StandardScaler().fit(x.numpy())
    theirs = TheirRidge(alpha=PENALTY * 150, solver="svd").fit(scaler.transform(x.numpy()), y.numpy())
    np.testing.assert_allclose(probe.predict(x), theirs.predict(scaler.transform(x.numpy())), atol=1e-8)
    np.testing.assert_allclose(probe.weights[0].numpy() * scaler.scale_, theirs.coef_, atol=1e-8)


@pytest.mark.parametrize("shape", [(300, 8), (60, 100)], ids=["more samples", "more features"])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_has_scikit_learns_weights(shape: tuple[int, int], classes: int) -> None:
    """With the penalty as documented: of two classes C = 2 / (penalty N), and our weights differ by theirs."""
    x, y = drawn(*shape, classes)
    probe = Logistic(penalties=(PENALTY,), tolerance=1e-9).fit_many(x, {"y": y}, torch.arange(len(x)))["y"]
    scaler = StandardScaler().fit(x.numpy())
    inverse = (2 if classes == 2 else 1) / (PENALTY * len(x))
    theirs = LogisticRegression(C=inverse, tol=1e-12, max_iter=5000).fit(scaler.transform(x.numpy()), y.numpy())
    ours = probe.weights.numpy() * scaler.scale_
    np.testing.assert_allclose(ours[1:] - ours[:1] if classes == 2 else ours, theirs.coef_, atol=1e-5)
    own = probe.log_probabilities(x).exp().numpy()
    np.testing.assert_allclose(own, theirs.predict_proba(scaler.transform(x.numpy())), atol=1e-5)
    if classes == 2:  # half the inverse penalty, as it was once, is another probe
        half = LogisticRegression(C=inverse / 2, tol=1e-12, max_iter=5000).fit(scaler.transform(x.numpy()), y.numpy())
        assert np.abs(ours[1] - ours[0] - half.coef_).max() > 1e-2


def test_logistic_problems_do_not_depend_on_their_neighbours() -> None:
    """Solved side by side or alone, with easier and harder ones beside: the gradient of each vanishes."""
    x, y = drawn(200, 6, 3)
    turning = Centred(x, torch.float64, rotate=True)
    turned = torch.cat([part for _, part in turning.rows(torch.arange(200))]).T
    targets = torch.stack([y, y.flip(0), (y + 1) % 3])
    masks = (torch.rand(3, 200) < 0.8).double()
    problems = Problems(turned, turning.variances, targets, masks, torch.tensor([1.0, 1e-4, 1e-2], dtype=torch.float64), 3)
    together = solve(problems, 1e-9, 500)
    for index in range(3):
        alone = problems.of(torch.tensor([index]))
        torch.testing.assert_close(solve(alone, 1e-9, 500)[0], together[index], atol=1e-4, rtol=0)
        weights = together[index : index + 1].clone().requires_grad_()
        alone.loss(alone.logits(weights), weights[..., :-1].square().sum((1, 2)))[0].sum().backward()
        assert float(weights.grad.abs().max()) < 1e-8


@pytest.mark.parametrize("estimator", [Ridge(), RidgeRegression(), Logistic()], ids=lambda e: e.kind)
def test_the_penalty_is_the_best_in_the_folds_and_validation_is_its_score(estimator: Estimator) -> None:
    """Against fits of one penalty at a time to what each fold leaves."""
    x, y = drawn(240, 40, 3)
    y = y.double() if not estimator.metric.of_classes else y
    groups = torch.arange(80).repeat_interleave(3)
    probe = estimator.fit_many(x, {"y": y}, groups)["y"]
    scores = {}
    for penalty in estimator.penalties:
        one = type(estimator)(penalties=(penalty,), folds=2)
        answers = torch.empty_like(y)
        for fold in group_folds(groups, estimator.folds, estimator.seed):
            # Standardised by all samples, as the folds are: features are no labels.
            z = (x - x.mean(0)) / x.std(0, correction=0)
            found = one.fit_many(z[~fold], {"y": y[~fold]}, groups[~fold])["y"]
            answers[fold] = found.predict(z[fold])
        scores[penalty] = estimator.metric.score(answers, y, estimator.metric.baseline(y))
    assert probe.validation == pytest.approx(max(scores.values()), abs=0.02)
    assert scores[probe.penalty] > max(scores.values()) - 0.02
    assert len(set(scores.values())) > 2  # the penalty matters here


@pytest.mark.parametrize("estimator", [Ridge(), RidgeRegression()], ids=lambda e: e.kind)
def test_ridge_leaves_folds_out_by_subtraction_as_a_new_fit_would(estimator: Estimator) -> None:
    """What shares Gram matrices answers as what fits every fold anew, up to the scale, which it takes from all samples."""
    x, y = drawn(200, 12, 3)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    y = y.double() if not estimator.metric.of_classes else y
    groups = torch.arange(50).repeat_interleave(4)
    folds = group_folds(groups, 5, 3)
    one = type(estimator)(penalties=(0.1,))
    fast = one.cross_predict(x, {"y": y}, groups, folds)["y"]
    slow = Estimator.cross_predict(one, x, {"y": y}, groups, folds)["y"]
    if estimator.metric.of_classes:
        assert (fast == slow).double().mean() > 0.98
    else:
        torch.testing.assert_close(fast, slow, atol=0.02, rtol=0)
    # and no sample is answered by a probe that has seen it: a memory of labels alone is of no use
    noise = torch.randn(200, 150, dtype=torch.float64)
    label = torch.arange(200) % 2
    recalled = Ridge(penalties=(1e-6,)).cross_predict(noise, {"y": label}, groups, folds)["y"]
    assert (recalled == label).double().mean() < 0.65


def closed_form(z: Tensor, y: Tensor, penalty: float, seen: Tensor) -> Tensor:
    """What ridge regression on some samples of features z, already standardised, answers to all."""
    mean, own = z[seen].mean(0), z[seen] - z[seen].mean(0)
    ridged = own.T @ own + penalty * len(own) * torch.eye(z.shape[1], dtype=torch.float64)
    return y[seen].mean() + (z - mean) @ torch.linalg.solve(ridged, own.T @ (y[seen] - y[seen].mean()))


def test_a_nested_penalty_is_the_best_of_the_other_folds_when_each_of_them_is_left_out_too() -> None:
    """By the closed form, fold by fold; each held-out fold has noise of its own size, so that they choose differently."""
    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(60, 20, generator=generator, dtype=torch.float64), torch.randn(60, generator=generator)
    z = (z - z.mean(0)) / z.std(0, correction=0)
    groups = torch.arange(60) // 3
    folds = group_folds(groups, 5, 1)
    y = z[:, 0] + z[:, 1] + noise * sum(float(fold) * mask for fold, mask in enumerate(folds))
    estimator = RidgeRegression(penalties=(1e-3, 1e-2, 1e-1, 1.0, 10.0))
    found = estimator.cross_predict(z, {"y": y}, groups, folds)["y"]
    chosen = []
    for held_out in folds:
        errors = []
        for penalty in estimator.penalties:
            others = [fold for fold in folds if fold is not held_out]
            missed = [closed_form(z, y, penalty, ~(held_out | fold))[fold] - y[fold] for fold in others]
            errors.append(float(torch.cat(missed).square().sum()))
        chosen.append(estimator.penalties[errors.index(min(errors))])
        wanted = closed_form(z, y, chosen[-1], ~held_out)[held_out]
        torch.testing.assert_close(found[held_out], wanted, atol=1e-9, rtol=0)
    assert len(set(chosen)) > 1, chosen


def test_of_classes_with_equal_scores_the_first_is_the_answer_in_the_folds() -> None:
    """Of constant features only the frequencies are left: 2, 2 in one fold, where a tie decides, and 3, 1 in the other."""
    y = torch.tensor([7, 9, 9, 7, 7, 7, 9, 7])
    probe = Ridge(folds=2).fit_many(torch.ones(8, 3), {"y": y}, torch.arange(8) // 4)["y"]
    assert probe.validation == (3 + 2) / 8  # 7 in both folds; the last of equal ones would be 9 in the second, (1 + 2) / 8


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_linear_weights_give_the_same_answers_on_the_activations_as_they_are(kind: str) -> None:
    x, y = drawn(120, 6, 4)
    probe = Estimator.of_kind(kind)().fit_many(x.float() * 30 + 4, {"y": y + 7}, torch.arange(120))["y"]
    assert isinstance(probe, LinearProbe)
    scores = (x.float() * 30 + 4).double() @ probe.weights.T + probe.intercepts
    assert torch.equal(probe.classes[scores.argmax(1)], probe.predict(x.float() * 30 + 4))
    assert set(probe.predict(x.float() * 30 + 4).tolist()) <= {7, 8, 9, 10}


def test_targets_with_different_numbers_of_classes_are_fitted_side_by_side() -> None:
    x, y = drawn(200, 6, 4)
    targets = {"four": y, "two": (y > 1).long(), "three": y.clamp(max=2)}
    for estimator in (Ridge(), Logistic()):
        together = estimator.fit_many(x, targets, torch.arange(200))
        assert list(together) == list(targets)
        for name, target in targets.items():
            alone = estimator.fit_many(x, {name: target}, torch.arange(200))[name]
            assert alone.penalty == together[name].penalty
            torch.testing.assert_close(alone.weights, together[name].weights, atol=1e-3, rtol=1e-3)


def test_fewer_groups_than_folds_cannot_be_fitted() -> None:
    x, y = drawn(40, 3, 2)
    for estimator in (Ridge(), Logistic()):
        with pytest.raises(CannotFitError, match="with 4 folds needs as many groups, got 3"):
            estimator.fit_many(x, {"y": y}, torch.arange(40) % 3)


def test_collinear_and_constant_features_are_handled() -> None:
    x, y = drawn(100, 4, 2)
    doubled = torch.cat([x, x, torch.full((100, 2), 3.3, dtype=torch.float64)], dim=1)
    for estimator in (Ridge(penalties=(0.1,)), Logistic(penalties=(0.1,))):
        probe = estimator.fit_many(doubled, {"y": y}, torch.arange(100))["y"]
        torch.testing.assert_close(probe.weights[:, :4], probe.weights[:, 4:8], atol=1e-5, rtol=1e-5)
        assert (probe.weights[:, 8:] == 0).all() and probe.weights.isfinite().all()
    single = doubled.float()  # 3.3 has no exact float32
    assert (Ridge().fit_many(single, {"y": y}, torch.arange(100))["y"].weights[:, 8:] == 0).all()


def test_features_that_are_not_finite_are_refused_and_whole_numbers_read() -> None:
    x, y = drawn(40, 3, 2)
    for estimator in (Ridge(), Logistic()):
        for bad in (torch.nan, torch.inf):
            broken = x.clone()
            broken[3, 1] = bad
            with pytest.raises(ValueError, match="features must be finite"):
                estimator.fit_many(broken, {"y": y}, torch.arange(40))
        counts = (10 * x).round()
        whole = estimator.fit_many(counts.long(), {"y": y}, torch.arange(40))["y"]
        torch.testing.assert_close(whole.weights, estimator.fit_many(counts, {"y": y}, torch.arange(40))["y"].weights)


def test_a_fold_that_lacks_a_class_is_fitted_all_the_same() -> None:
    x, y = drawn(120, 4, 3)
    groups = torch.arange(120)
    y = torch.where(groups < 115, y.clamp(max=1), 2)  # five samples of the last class, which some folds hold all but one of
    for estimator in (Ridge(folds=40), Logistic(folds=40, penalties=(1e-3, 1e-1))):
        probe = estimator.fit_many(x, {"y": y}, groups // 3)["y"]
        assert probe.weights.isfinite().all() and probe.classes.tolist() == [0, 1, 2]


def test_estimators_are_settings() -> None:
    assert from_plain(Estimator, {"kind": "logistic", "penalties": [0.5]}) == Logistic(penalties=(0.5,))
    assert {"ridge", "ridge_regression", "logistic"} <= set(Estimator.kinds())
    with pytest.raises(UnknownNameError, match="did you mean 'ridge'"):
        from_plain(Estimator, "rigde")
    for bad in ({"penalties": ()}, {"penalties": (0.0,)}, {"folds": 0}):
        with pytest.raises(ValueError, match="Ridge"):
            Ridge(**bad)  # type: ignore[arg-type]
