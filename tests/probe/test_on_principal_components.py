"""Probes of principal components: against scikit-learn's components, and on activations with fewer features than components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from statescope.estimators import LinearDiscriminant, LinearProbe, OnPrincipalComponents, Perceptron, ProbeSweep, Ridge
from statescope.probe.estimators.on_principal_components import leading_axes


def test_they_read_the_leading_components_of_standardised_activations() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 40, generator=generator, dtype=torch.float64) @ torch.randn(40, 40, generator=generator).double() + 3
    y = (x[:, :5].sum(1) > x[:, :5].sum(1).mean()).long()
    groups = torch.arange(400)
    inner = LinearDiscriminant(penalties=(0.1,))
    found = OnPrincipalComponents(inner, components=7).fit_many(x, {"y": y}, groups)["y"]
    assert isinstance(found, LinearProbe) and found.weights.shape == (2, 40)
    theirs = torch.from_numpy(PCA(7).fit_transform(StandardScaler().fit_transform(x.numpy())))
    own = inner.fit_many(theirs, {"y": y}, groups)["y"]
    np.testing.assert_allclose(found.log_probabilities(x).exp(), own.log_probabilities(theirs).exp(), atol=1e-8)
    other = OnPrincipalComponents(inner, components=8).fit_many(x, {"y": y}, groups)["y"]
    assert (other.scores(x) - found.scores(x)).abs().max() > 1e-3
    assert found.penalty == own.penalty and found.validation == pytest.approx(own.validation)


def test_few_features_are_read_as_they_are() -> None:
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3
    ours, plain = (
        estimator.fit_many(x, {"y": y}, torch.arange(60))["y"] for estimator in (OnPrincipalComponents(Ridge(), 9), Ridge())
    )
    torch.testing.assert_close(ours.weights, plain.weights)


def test_more_features_than_samples_and_a_probe_that_is_not_linear() -> None:
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(90) % 2
    x = torch.randn(90, 200, generator=generator) + 3 * y[:, None] * torch.randn(200, generator=generator)
    probe = OnPrincipalComponents(Perceptron(penalties=(1e-2,)), components=4).fit_many(x, {"y": y}, torch.arange(90))["y"]
    assert (probe.predict(x) == y).double().mean() > 0.95 and probe.classes.tolist() == [0, 1]
    assert probe.log_probabilities(x).shape == (90, 2) and probe.validation > 0.8


def test_a_sweep_says_how_many_inputs_its_probes_have() -> None:
    train, test = planted(30, 0), planted(30, 1)
    width = train.features(train.hooks[0]).shape[1]
    table = ProbeSweep(estimator=OnPrincipalComponents(Ridge(), width - 2), permutations=9).run(train, test).to_frame()
    assert (table["features"] == width - 2).all()
    assert table["code_length"].isna().all(), "ridge gives no probabilities"


def test_of_fewer_samples_than_features_they_are_scikit_learns_too() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(30, 60, generator=generator, dtype=torch.float64) @ torch.randn(60, 60, generator=generator).double() + 3
    y, groups, inner = torch.arange(30) % 2, torch.arange(30), LinearDiscriminant(penalties=(0.1,))
    found = OnPrincipalComponents(inner, components=5).fit_many(x, {"y": y}, groups)["y"]
    theirs = torch.from_numpy(PCA(5).fit_transform(StandardScaler().fit_transform(x.numpy())))
    own = inner.fit_many(theirs, {"y": y}, groups)["y"]
    np.testing.assert_allclose(found.log_probabilities(x).exp(), own.log_probabilities(theirs).exp(), atol=1e-8)
    mean, axes = leading_axes(x, 5)
    np.testing.assert_allclose(((x - mean) @ axes).flip(1).abs(), theirs.abs(), atol=1e-9)  # the largest stands last
