"""Linear maps between representations: what is recovered, and how far from a rotation they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor

from statescope.analyses.similarity.linear_map import LinearMap, retrieved


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_least_squares_and_rotation_are_those_of_scipy_and_sklearn() -> None:
    x, y = draw(40, 5) + 2, draw(40, 3, seed=1) + draw(40, 5)[:, :3] - 4
    found = LinearMap.least_squares(x, y)
    theirs = LinearRegression().fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(found.weight.mT.numpy(), theirs.coef_, rtol=1e-10)
    np.testing.assert_allclose(found(x).numpy(), theirs.predict(x.numpy()), rtol=1e-10)
    assert 1 - found.error(x, y) == pytest.approx(theirs.score(x.numpy(), y.numpy()), abs=0.2)  # theirs is by column
    centred = x - x.mean(0)
    strength = 0.1 * float(centred.square().mean(0).mean()) * len(x)
    ridge = Ridge(strength).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(LinearMap.least_squares(x, y, penalty=0.1).weight.mT.numpy(), ridge.coef_, rtol=1e-10)
    other = draw(40, 5, seed=3)
    turn, _ = orthogonal_procrustes(centred.numpy(), (other - other.mean(0)).numpy())
    np.testing.assert_allclose(LinearMap.rotation(x, other).weight.numpy(), turn, atol=1e-10)


def test_the_gap_is_that_of_its_definition() -> None:
    weight = draw(6, 4)
    gram = weight.mT @ weight
    eye = torch.eye(4, dtype=torch.float64)
    by_hand = min(float((gram - c * eye).norm() / gram.norm()) for c in np.linspace(0, 20, 20001))
    assert LinearMap(weight, draw(4)).orthogonality_gap == pytest.approx(by_hand, abs=1e-6)
    turn = torch.linalg.qr(draw(4, 4)).Q
    assert LinearMap(3 * turn, draw(4)).orthogonality_gap < 1e-14
    assert LinearMap(3 * turn[:, :2], draw(2)).orthogonality_gap < 1e-14


def test_a_planted_map_is_found_and_leads_each_sample_to_its_own() -> None:
    x = draw(50, 6)
    turn = torch.linalg.qr(draw(6, 6, seed=2)).Q
    y = 2 * x @ turn + 1
    found = LinearMap.rotation(x, y)
    torch.testing.assert_close(found.weight, turn)
    assert LinearMap.least_squares(x, y).error(x, y) < 1e-20
    assert found.retrieved(x, y) == 1
    assert retrieved(x, y) < 0.3
    assert LinearMap.least_squares(x[:4], y[:4]).error(x[:4], y[:4]) < 1e-20  # fewer samples than dimensions
    assert LinearMap.least_squares(x, draw(50, 3, seed=5)).error(x, draw(50, 3, seed=5)) > 0.6


def test_bad_activations_are_refused() -> None:
    for first, second, text in (
        (draw(5, 2), draw(6, 2), "same samples"),
        (draw(5), draw(5, 2), "same samples"),
        (draw(5, 2) / 0, draw(5, 2), "NaN"),
        (torch.ones(5, 2), draw(5, 2), "same for every sample"),
    ):
        for fit in (LinearMap.least_squares, LinearMap.rotation):
            with pytest.raises(ValueError, match=text):
                fit(first, second)
