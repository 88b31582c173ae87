"""Each estimator that a sweep takes by name: against scikit-learn or its definition, and on odd labels and features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid as TheirCentroid
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from statescope.estimators import (
    Estimator,
    KSparse,
    LinearDiscriminant,
    LinearSVM,
    Logistic,
    NaiveBayes,
    NearestCentroid,
    PathEstimator,
    Perceptron,
    PerceptronRegression,
    ProbeSweep,
    Ridge,
    RidgeRegression,
    SoftNearestNeighbour,
)
from statescope.probe.configuration import BadSettingError
from statescope.probe.estimators.penalised import largest_of_best

SIZES = [(301, 7, 2), (203, 11, 5), (37, 90, 3)]
CLASSIFIERS = [
    LinearDiscriminant(),
    NearestCentroid(),
    NaiveBayes(),
    LinearSVM(),
    Perceptron(),
    KSparse(),
    SoftNearestNeighbour(),
]
EVERY = [*CLASSIFIERS, PerceptronRegression(), Ridge(), RidgeRegression(), Logistic()]


def drawn(samples: int, features: int, classes: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Features with a mean and scales of their own, classes 3, 5, 7 .., and the features as scikit-learn standardises them."""
    generator = torch.Generator().manual_seed(samples + features)
    y = torch.randint(0, classes, (samples,), generator=generator)
    y[:classes] = torch.arange(classes)
    mixed = torch.randn(features, features, generator=generator, dtype=torch.float64)
    means = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64) @ mixed + 1.5 * means[y] + 5
    x[:, 1] *= 100
    x[:, 2] = 7.1
    return x, 2 * y + 3, StandardScaler().fit_transform(x.numpy())


def fitted(estimator: Estimator, x: Tensor, y: Tensor) -> object:
    return estimator.fit_many(x, {"y": y}, torch.arange(len(x)))["y"]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shrinkage", [1e-3, 0.3, 1.0])
def test_linear_discriminant_is_scikit_learns(size: tuple[int, int, int], shrinkage: float) -> None:
    x, y, z = drawn(*size)
    theirs, other = (LinearDiscriminantAnalysis(solver="lsqr", shrinkage=p).fit(z, y.numpy()) for p in (shrinkage, shrinkage / 2))
    probe = fitted(LinearDiscriminant(penalties=(shrinkage,)), x, y)
    scores = probe.scores(x).numpy()
    own = scores[:, 1] - scores[:, 0] if size[2] == 2 else scores
    np.testing.assert_allclose(own, theirs.decision_function(z), rtol=1e-6, atol=1e-6)
    assert (probe.predict(x).numpy() == theirs.predict(z)).all()
    np.testing.assert_allclose(probe.log_probabilities(x).exp(), theirs.predict_proba(z), atol=1e-7)
    assert np.abs(own - other.decision_function(z)).max() > 1e-4


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_naive_bayes_is_scikit_learns(size: tuple[int, int, int]) -> None:
    x, y, z = drawn(*size)
    theirs = GaussianNB(var_smoothing=0.01).fit(z, y.numpy())
    probe = fitted(NaiveBayes(penalties=(0.01,)), x, y)
    np.testing.assert_allclose(probe.log_probabilities(x), theirs.predict_log_proba(z), atol=1e-7)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scaled", [True, False])
def test_nearest_centroid_is_scikit_learns(size: tuple[int, int, int], scaled: bool) -> None:
    x, y, z = drawn(*size)
    own = z if scaled else x.numpy()
    theirs = TheirCentroid().fit(own, y.numpy())
    assert (fitted(NearestCentroid(scaled=scaled), x, y).predict(x).numpy() == theirs.predict(own)).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_linear_svm_is_scikit_learns_on_the_features_as_they_are(size: tuple[int, int, int]) -> None:
    """Ours is fitted along principal axes, which must not matter."""
    x, y, z = drawn(*size)
    theirs = LinearSVC(C=1 / (0.1 * len(x)), dual=False, tol=1e-10, max_iter=10_000).fit(z, y.numpy())
    probe = fitted(LinearSVM(penalties=(0.1,), tolerance=1e-10), x, y)
    ours = probe.scores(x).numpy()
    np.testing.assert_allclose(ours[:, 1] if size[2] == 2 else ours, theirs.decision_function(z), atol=1e-5)
    assert (probe.predict(x).numpy() == theirs.predict(z)).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_perceptrons_are_scikit_learns_and_find_what_no_line_does(classes: int) -> None:
    x, y, z = drawn(203, 6, classes)
    settings = {"hidden_layer_sizes": (32,), "solver": "lbfgs", "alpha": 2.03, "max_iter": 15, "tol": 1e-7, "random_state": 0}
    theirs = MLPClassifier(**settings).fit(z, y.numpy())
    probe = fitted(Perceptron(penalties=(0.01,), iterations=15), x, y)
    np.testing.assert_allclose(probe.log_probabilities(x).exp(), theirs.predict_proba(z), atol=1e-8)
    value = 30 + 5 * x[:, 0].abs()
    scaled = ((value - value.mean()) / value.std(correction=0)).numpy()
    regressor = MLPRegressor(**settings).fit(z, scaled)
    number = fitted(PerceptronRegression(penalties=(0.01,), iterations=15), x, value).predict(x)
    np.testing.assert_allclose((number - value.mean()) / value.std(correction=0), regressor.predict(z), atol=1e-8)
    cross = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    corner = (cross[:, 0] * cross[:, 1] > 0).long()
    seen = {name: fitted(Estimator.of_kind(name)(), cross[:200], corner[:200]) for name in ("perceptron", "logistic")}
    right = {name: (probe.predict(cross[200:]) == corner[200:]).double().mean() for name, probe in seen.items()}
    assert right["perceptron"] > 0.85 > 0.65 > right["logistic"]
    near = fitted(SoftNearestNeighbour(), cross[:200], corner[:200])
    assert (near.predict(cross[200:]) == corner[200:]).double().mean() > 0.8


def test_a_sparse_probe_reads_the_features_that_differ_and_no_others() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(301, 40, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (301,), generator=generator)
    x[:, 7] += 2 * (y == 1)
    x[:, 31] *= 1000
    x[:, 31] -= 3000 * (y == 2)
    probe = fitted(KSparse(features=2, penalties=(0.01,)), x, y)
    assert probe.weights.abs().sum(0).nonzero().flatten().tolist() == [7, 31]
    alone = fitted(Logistic(penalties=(0.01,), tolerance=1e-9), x[:, [7, 31]], y)
    torch.testing.assert_close(probe.weights[:, [7, 31]], alone.weights, atol=1e-3, rtol=1e-3)
    assert fitted(KSparse(features=99, penalties=(0.1,)), x[:, :3], y).weights.shape == (3, 3)


def test_soft_nearest_neighbours_are_their_definition() -> None:
    x, y, z = drawn(61, 5, 3)
    probe = fitted(SoftNearestNeighbour(penalties=(0.05,)), x, y)
    distances = ((z[:, None] - z[None]) ** 2).sum(-1)
    weights = np.exp(-distances / (0.05 * 2 * 5))
    shares = np.stack([weights[:, y.numpy() == c].sum(1) for c in (3, 5, 7)], 1) / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(probe.log_probabilities(x).exp(), shares, atol=1e-9)


def test_what_needs_every_penalty_is_chosen_by_folds_that_do_not_see_the_answer() -> None:
    """Against a hand-written choice for one estimator of the base, whose folds also choose the features anew."""
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(60, 200, generator=generator), torch.randint(0, 2, (60,), generator=generator)
    estimator = KSparse(features=5)
    probe = fitted(estimator, x, y)
    best = []
    for penalty in estimator.penalties:
        answers = torch.empty_like(y)
        for held_out in estimator.inner_folds(torch.arange(60)):
            one = KSparse(features=5, penalties=(penalty,)).fit_paths(x[~held_out], {"y": y[~held_out]})["y"][0]
            answers[held_out] = one.predict(x[held_out])
        best.append(float((answers == y).double().mean()))
    assert probe.validation == max(best) and best[estimator.penalties.index(probe.penalty)] == max(best)
    assert probe.validation < 0.75 < float((probe.predict(x) == y).double().mean())  # nothing is there to find


@pytest.mark.parametrize("estimator", EVERY, ids=lambda e: e.kind)
@pytest.mark.parametrize("shape", [(45, 130), (45, 3)], ids=["more features", "few features"])
def test_odd_data_is_fitted_or_refused(estimator: Estimator, shape: tuple[int, int]) -> None:
    """A constant feature, one feature twice, a class of one sample and one that a fold lacks, classes that are booleans."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator)
    y = torch.arange(45) % 3
    x[:, 0], x[:, 1], y[y == 2], y[7] = 3.3, x[:, 2], 1, 2
    whole = y if estimator.metric.of_classes else y.double()
    targets = {"three": whole, "two": (whole > 0) if estimator.metric.of_classes else x[:, 1].double()}
    for name, probe in estimator.fit_many(x, targets, torch.arange(45) // 3).items():
        answers = probe.predict(x)
        assert answers.shape == (45,) and bool(answers.double().isfinite().all())
        if estimator.metric.of_classes:
            assert answers.dtype == targets[name].dtype and set(answers.tolist()) <= set(targets[name].tolist())
        if estimator.has_probabilities:
            torch.testing.assert_close(probe.log_probabilities(x).exp().sum(1).double(), torch.ones(45, dtype=torch.float64))
            assert probe.log_probabilities(x[:0]).shape == (0, len(probe.classes))
        if isinstance(estimator, PathEstimator):
            assert probe.penalty in estimator.penalties
    broken = x.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(ValueError, match="features must be finite"):
        estimator.fit_many(broken, targets, torch.arange(45))


@pytest.mark.parametrize("estimator", EVERY, ids=lambda e: e.kind)
def test_a_class_in_one_group_alone_is_what_a_probe_without_that_group_answers(estimator: Estimator) -> None:
    """Cross-validation where all samples of a class lie in one group, so that the others have one value, or lack one."""
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(3))
    groups = torch.arange(40) // 8
    y = (groups == 2).long()
    targets = {"y": y if estimator.metric.of_classes else y.double()}
    folds = [groups == group for group in range(5)]
    answers = estimator.cross_predict(x, targets, groups, folds)["y"]
    assert (answers[groups == 2].double().abs() < 1e-9).all()


def lopsided(samples: int = 401) -> tuple[Tensor, Tensor, np.ndarray]:
    """Two classes that overlap, one with a twentieth of the samples."""
    generator = torch.Generator().manual_seed(11)
    y = (torch.arange(samples) % 20 == 0).long()
    x = torch.randn(samples, 5, generator=generator, dtype=torch.float64) + 1.2 * y[:, None]
    return x, y, StandardScaler().fit_transform(x.numpy())


def test_balanced_weights_are_scikit_learns() -> None:
    x, y, z = lopsided()
    labels, n = y.numpy(), len(y)
    logistic = fitted(Logistic(penalties=(0.05,), tolerance=1e-9, balanced=True), x, y)
    theirs = LogisticRegression(C=2 / (0.05 * n), class_weight="balanced", tol=1e-12, max_iter=5000).fit(z, labels)
    np.testing.assert_allclose(logistic.log_probabilities(x).exp(), theirs.predict_proba(z), atol=1e-5)
    svm = fitted(LinearSVM(penalties=(0.05,), tolerance=1e-10, balanced=True), x, y)
    machine = LinearSVC(C=1 / (0.05 * n), dual=False, tol=1e-10, max_iter=10_000, class_weight="balanced").fit(z, labels)
    np.testing.assert_allclose(svm.scores(x)[:, 1], machine.decision_function(z), atol=1e-5)
    for wide in (x, torch.where(y[:, None] == 1, 3 * x, x)):  # classes of one covariance, and of two
        discriminant = fitted(LinearDiscriminant(penalties=(0.1,), balanced=True), wide, y)
        standard = StandardScaler().fit_transform(wide.numpy())
        equal = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1, priors=[0.5, 0.5]).fit(standard, labels)
        np.testing.assert_allclose(discriminant.scores(wide).diff(dim=1)[:, 0], equal.decision_function(standard), atol=1e-8)
    naive = fitted(NaiveBayes(penalties=(0.01,), balanced=True), x, y)
    bayes = GaussianNB(priors=[0.5, 0.5], var_smoothing=0.01).fit(z, labels)
    np.testing.assert_allclose(naive.log_probabilities(x), bayes.predict_log_proba(z), atol=1e-8)


BALANCED = [Logistic, LinearDiscriminant, LinearSVM, NaiveBayes, KSparse, Perceptron, SoftNearestNeighbour]


@pytest.mark.parametrize("kind", BALANCED, ids=lambda kind: kind.kind)
def test_a_rare_class_is_read_where_classes_are_balanced(kind: type[Estimator]) -> None:
    """Where accuracy is served best by never answering the rare class, the balanced one is not, and says so by its name."""
    x, y, _ = lopsided(1201)
    seen, held = torch.arange(1201) < 801, torch.arange(1201) >= 801
    found = {}
    for balanced in (False, True):
        estimator = kind(balanced=balanced)  # type: ignore[call-arg]
        answers = fitted(estimator, x[seen], y[seen]).predict(x[held])
        found[balanced] = balanced_accuracy_score(y[held].numpy(), answers.numpy())
        own = estimator.metric.score(answers, y[held], 0.0)
        expected = found[True] if balanced else float((answers == y[held]).double().mean())
        assert own == pytest.approx(expected)
    assert found[True] > 0.7 and found[True] > found[False] + 0.05
    assert kind(balanced=True).metric.name == "balanced accuracy"  # type: ignore[call-arg]


def test_a_balanced_sweep_measures_majority_and_control_alike() -> None:
    train, test = planted(20, 1), planted(20, 2)
    scores = ProbeSweep(estimator=Logistic(balanced=True), permutations=99, resamples=200).run(train, test).to_frame()
    assert (scores["metric"] == "balanced accuracy").all()
    np.testing.assert_allclose(scores["majority"], 1 / 3)
    assert ((scores["low"] <= scores["accuracy"]) & (scores["accuracy"] <= scores["high"])).all()


def test_numbers_that_are_whole_are_answered_by_numbers_that_are_not() -> None:
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = (3 * x[:, 0]).round().long()
    folds = [torch.arange(60) % 5 == fold for fold in range(5)]
    for estimator in (RidgeRegression(penalties=(1e-3,)), PerceptronRegression(penalties=(1e-2,), iterations=20)):
        answers = estimator.cross_predict(x, {"y": y}, torch.arange(60), folds)["y"]
        assert answers.is_floating_point() and (answers != answers.round()).any()
        assert estimator.metric.score(answers, y, float(y.double().mean())) > 0.9


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: e.kind)
def test_a_sweep_takes_each_with_all_its_evidence(estimator: Estimator) -> None:
    scores = ProbeSweep(estimator=estimator, permutations=99, resamples=200).run(planted(20, 1), planted(20, 2))
    table = scores.to_frame().set_index("layer")
    assert table.loc[0, "accuracy"] > 0.8 > 0.6 > table.loc[1, "accuracy"]
    assert table.loc[0, "p_value"] == 0.01 and table.loc[0, "low"] > table.loc[1, "high"]
    assert table.loc[0, "selectivity"] > 0.2 and np.isfinite(table["code_length"]).all() == estimator.has_probabilities
    assert np.isfinite(table["penalty"]).all() == isinstance(estimator, PathEstimator)


def test_shrinkage_is_a_share() -> None:
    with pytest.raises(BadSettingError, match="at most 1; got 2"):
        LinearDiscriminant(penalties=(0.1, 2.0))


@pytest.mark.parametrize("estimator", EVERY, ids=lambda estimator: estimator.kind)
def test_complex_features_are_refused_for_their_imaginary_part_would_be_lost(estimator: Estimator) -> None:
    x, y, _ = drawn(60, 4, 2)
    target = y if estimator.metric.of_classes else y.double()
    with pytest.raises(TypeError, match="side by side"):
        fitted(estimator, torch.complex(x, x.flip(0)), target)
    probe = fitted(estimator, x, target)
    with pytest.raises(TypeError, match="side by side"):
        probe.predict(torch.complex(x, x.flip(0)))


def test_of_equally_good_penalties_the_largest_is_taken() -> None:
    assert largest_of_best([0.1, 10.0, 1.0], [0.5, 0.7, 0.7]) == 1
    assert largest_of_best([0.1, 10.0, 1.0], [0.5, 0.2, 0.7]) == 2
