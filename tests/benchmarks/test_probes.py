"""Speed of probes against scikit-learn, cell by cell, at the same held-out accuracy. `make bench` prints the table.

A cell is 20,000 samples of 256 correlated features with 10 classes, in groups of 20; four fifths are fitted with 5 penalties
chosen by 5 grouped folds, and the rest is held out. Cells of a sweep have features of their own: 24 take 24 times one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegressionCV, RidgeClassifierCV
from sklearn.preprocessing import StandardScaler
from timing import compare
from torch import Tensor

from statescope.estimators import Estimator, Logistic, Ridge, group_folds

pytestmark = pytest.mark.benchmark

SAMPLES, FEATURES, CLASSES, GROUP = 20_000, 256, 10, 20
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SEEN = 4 * SAMPLES // 5


def cell(targets: int) -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(0, -2, FEATURES)
    x = torch.randn(SAMPLES, FEATURES, generator=generator) @ (torch.randn(FEATURES, FEATURES, generator=generator) * scales)
    standard = (x - x.mean(0)) / x.std(0)
    labels = []
    for _ in range(targets):
        logits = standard @ torch.randn(FEATURES, CLASSES, generator=generator) * 3 / FEATURES**0.5
        labels.append(torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0])
    return x, labels, torch.arange(SAMPLES) // GROUP


Peer = Callable[[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]], object]


def ridge_peer(x: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> RidgeClassifierCV:
    return RidgeClassifierCV(alphas=[penalty * SEEN for penalty in PENALTIES], cv=folds).fit(x, y)


def logistic_peer(x: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> LogisticRegressionCV:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegressionCV(Cs=[1 / (penalty * SEEN) for penalty in PENALTIES], cv=folds, max_iter=300).fit(x, y)


RIDGE, LOGISTIC = Ridge(penalties=PENALTIES, folds=5), Logistic(penalties=PENALTIES, folds=5)
CASES = [
    pytest.param(RIDGE, ridge_peer, 20, targets, dtype, id=f"RidgeClassifierCV, {targets} targets, {str(dtype)[6:]}")
    for targets in (1, 2, 8)
    for dtype in (torch.float32, torch.float64)
]
CASES += [
    pytest.param(LOGISTIC, logistic_peer, 10, targets, torch.float32, id=f"LogisticRegressionCV, {targets} targets, float32")
    for targets in (1, 2)
]


@pytest.mark.parametrize(("estimator", "peer", "wanted", "targets", "dtype"), CASES)
def test_a_cell_against_scikit_learn(
    estimator: Estimator, peer: Peer, wanted: int, targets: int, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    x, labels, groups = cell(targets)
    x = x.to(dtype)
    named = dict(enumerate(labels))
    seen = {name: label[:SEEN] for name, label in named.items()}
    scaler = StandardScaler().fit(x[:SEEN].numpy())
    scaled = scaler.transform(x[:SEEN].numpy())
    folds = [((~held).nonzero()[:, 0].numpy(), held.nonzero()[:, 0].numpy()) for held in group_folds(groups[:SEEN], 5, 0)]

    def ours() -> dict[int, object]:
        return estimator.fit_many(x[:SEEN], seen, groups[:SEEN])  # type: ignore[return-value]

    def theirs() -> list[object]:
        return [peer(scaled, label.numpy(), folds) for label in seen.values()]

    probes, models = estimator.fit_many(x[:SEEN], seen, groups[:SEEN]), theirs()
    gaps = []
    for name, label in named.items():
        own = (probes[name].predict(x[SEEN:]) == label[SEEN:]).double().mean()
        other = models[name].score(scaler.transform(x[SEEN:].numpy()), label[SEEN:].numpy())  # type: ignore[attr-defined]
        gaps.append(float(own) - float(other))
    assert abs(np.mean(gaps)) < 0.002, gaps
    ratio = compare(ours, theirs, pairs=3, warm_up=0)
    print(
        f"\n{request.node.callspec.id}\n  ours: {ratio.first:.0f} ms   scikit-learn: {ratio.second:.0f} ms   "
        f"{1 / ratio.ratio:.1f} times as fast (wanted: {wanted})"
    )


@pytest.mark.parametrize("by_leaving_one_out", [False, True], ids=["fold by fold", "by leaving one out"])
def test_nested_ridge_against_scikit_learn(by_leaving_one_out: bool) -> None:
    """Five outer folds, each with a penalty of its own, which scikit-learn chooses by four inner folds or by leaving one out."""
    x, [label], groups = cell(1)
    outer = group_folds(groups, 5, 0)
    scaled, y = StandardScaler().fit_transform(x.numpy()), label.numpy()

    def ours() -> Tensor:
        return RIDGE.cross_predict(x, {"y": label}, groups, outer)["y"]

    def theirs() -> np.ndarray:
        found = np.empty_like(y)
        for held in outer:
            alphas = [penalty * int((~held).sum()) for penalty in PENALTIES]
            inner = group_folds(groups[~held], 4, 0)
            folds = None if by_leaving_one_out else [(np.flatnonzero(~fold), np.flatnonzero(fold)) for fold in inner]
            model = RidgeClassifierCV(alphas=alphas, cv=folds).fit(scaled[~held], y[~held])
            found[held] = model.predict(scaled[held])
        return found

    own, other = ((found == y).mean() for found in (ours().numpy(), theirs()))
    assert abs(own - other) < 0.002, (own, other)
    ratio = compare(ours, theirs, pairs=3, warm_up=0)
    print(f"\n  ours: {ratio.first:.0f} ms   scikit-learn: {ratio.second:.0f} ms   {1 / ratio.ratio:.1f} times as fast")
