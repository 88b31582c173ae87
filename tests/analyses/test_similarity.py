"""Measures of similarity: their invariances, known values, and the null that they are held against."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest, wasserstein_distance
from torch import Tensor

from statescope.analyses.similarity.canonical_correlation import CanonicalCorrelation
from statescope.analyses.similarity.centred_kernel_alignment import CentredKernelAlignment
from statescope.analyses.similarity.compare import compare_representations
from statescope.analyses.similarity.measure import SimilarityMeasure
from statescope.analyses.similarity.procrustes import Procrustes
from statescope.analyses.similarity.representational_similarity import RepresentationalSimilarity
from statescope.analyses.similarity.sliced_wasserstein import sliced_wasserstein
from statescope.analyses.similarity.unit_matching import UnitMatching, match_units

MEASURES = [
    CentredKernelAlignment(),
    CentredKernelAlignment(debiased=False),
    Procrustes(),
    CanonicalCorrelation(1.0),
    CanonicalCorrelation(1.0, weighted=True),
    RepresentationalSimilarity(),
    RepresentationalSimilarity("pearson"),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(draw(size, size, seed=9)).Q


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_rotating_scaling_and_shifting_change_nothing(measure: SimilarityMeasure) -> None:
    x, y = draw(60, 5), draw(60, 5) + draw(60, 5, seed=1)
    turn = torch.eye(5).double() if getattr(measure, "weighted", False) else rotation(5)  # its weights belong to a basis
    assert measure(x, 3 * x @ rotation(5) + 7) == pytest.approx(1, abs=1e-10)
    assert measure(2 * x @ turn - 1, y) == pytest.approx(measure(x, y), abs=1e-10)
    assert 0 < measure(x, y) < 0.99


def test_a_rotation_is_what_unit_matching_sees() -> None:
    x = draw(300, 6)
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    found = match_units(x, 2 * x[:, order] + 1)
    assert order[found.partner].tolist() == list(range(6))
    torch.testing.assert_close(found.correlation, torch.ones(6, dtype=torch.float64))
    assert UnitMatching()(x, x @ rotation(6)) < 0.9
    assert CentredKernelAlignment()(x, x @ rotation(6)) == pytest.approx(1)
    doubled = torch.cat([x[:, :1], x[:, :1] + 0.1 * draw(300, 1, seed=4)], 1)
    assert UnitMatching(one_to_one=False)(doubled, x) > 0.9 > UnitMatching()(doubled, x)
    assert match_units(torch.cat([x[:, :2], torch.ones(300, 1).double()], 1), x).partner[2] == -1


@pytest.mark.parametrize(("n", "p"), [(100, 100), (100, 400), (1000, 100)])
def test_the_bias_of_cka_is_the_known_one_and_is_taken_off(n: int, p: int) -> None:
    pairs = [(draw(n, p, seed=2 * s), draw(n, p, seed=2 * s + 1)) for s in range(8)]
    debiased, biased = ([measure(*pair) for pair in pairs] for measure in MEASURES[:2])
    assert np.mean(biased) == pytest.approx(p / (n + p), abs=0.005)
    assert abs(np.mean(debiased)) < 0.015


def test_cka_is_written_out() -> None:
    """The definition with kernel matrices and a centring matrix, and the unbiased HSIC of Song et al. term by term."""
    x, y = draw(12, 3), draw(12, 4, seed=1)
    n = 12
    k, other = x @ x.T, y @ y.T
    centre = torch.eye(n).double() - 1 / n
    hsic = lambda a, b: float(torch.trace(centre @ a @ centre @ b))  # noqa: E731
    assert MEASURES[1](x, y) == pytest.approx(hsic(k, other) / (hsic(k, k) * hsic(other, other)) ** 0.5, rel=1e-12)

    def unbiased(a: Tensor, b: Tensor) -> float:
        a, b = a - torch.diag(a.diagonal()), b - torch.diag(b.diagonal())
        one = torch.ones(n, dtype=torch.float64)
        first = torch.trace(a @ b) + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ a @ b @ one)
        return float(first) / (n * (n - 3))

    expected = unbiased(k, other) / (unbiased(k, k) * unbiased(other, other)) ** 0.5
    assert MEASURES[0](x, y) == pytest.approx(expected, rel=1e-10)


def test_canonical_correlations_of_a_planted_subspace() -> None:
    shared = draw(2000, 2)
    x = torch.cat([shared, draw(2000, 3, seed=1)], 1) @ rotation(5)
    y = torch.cat([shared, draw(2000, 3, seed=2)], 1) * torch.tensor([5.0, 0.1, 1, 1, 1]).double()
    assert CanonicalCorrelation(1.0)(x, y) == pytest.approx(2 / 5, abs=0.05)
    assert CanonicalCorrelation(0.9)(x, 100 * x @ rotation(5)) == pytest.approx(1)
    with pytest.raises(ValueError, match="correlate whatever they are"):
        CanonicalCorrelation(1.0)(draw(20, 12), draw(20, 12, seed=1))


def test_procrustes_is_a_metric_and_the_best_rotation() -> None:
    x, y, z = draw(40, 4), draw(40, 4, seed=1), draw(40, 4, seed=2)
    angle = lambda a, b: np.arccos(Procrustes()(a, b))  # noqa: E731
    assert angle(x, z) <= angle(x, y) + angle(y, z)
    one, two = ((a - a.mean(0)) / (a - a.mean(0)).norm() for a in (x, y))
    u, _, vh = torch.linalg.svd(one.T @ two)
    best = float((one @ (u @ vh) - two).norm() ** 2)
    assert Procrustes()(x, y) == pytest.approx(1 - best / 2, rel=1e-10)


def test_sliced_wasserstein_is_the_distance_on_a_line_and_a_metric() -> None:
    generator = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    x, y = draw(40, 1), draw(40, 1, seed=1) + 2
    by_hand = float((x.sort(dim=0).values - y.sort(dim=0).values).square().mean().sqrt())
    assert sliced_wasserstein(x, y, 5, generator()) == pytest.approx(by_hand, rel=1e-12)
    uneven = sliced_wasserstein(x, draw(7, 1), 1, generator())
    assert uneven >= wasserstein_distance(x[:, 0].numpy(), draw(7, 1)[:, 0].numpy()) - 1e-12  # W2 is at least W1
    clouds = [draw(30, 3, seed=s) + s for s in range(3)]
    d = lambda a, b: sliced_wasserstein(clouds[a], clouds[b], 50, generator())  # noqa: E731
    assert d(0, 0) == 0
    assert d(0, 1) == pytest.approx(d(1, 0))
    assert d(0, 2) <= d(0, 1) + d(1, 2)
    with pytest.raises(ValueError, match="clouds"):
        sliced_wasserstein(draw(3, 2), draw(3, 4), 5, generator())


def test_pairs_are_held_against_shuffled_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    x = draw(64, 5)
    found = compare_representations({"a": x, "b": draw(64, 5, seed=3)}, {"c": x @ rotation(5)}, generator)
    assert found.value("p", first="a", second="c") == pytest.approx(0.01)
    assert found.value("p", first="b", second="c") > 0.01
    assert abs(found.value("null", first="a")) < 0.1
    assert "more alike than shuffled" in found.summary()
    assert len(found.specification().panels) == 1


def test_p_values_are_uniform_without_a_relation_only_if_groups_are_kept_together() -> None:
    """Neighbours in a group are alike: shuffling single samples calls independent models alike."""
    groups = torch.arange(12).repeat_interleave(5)
    values = {True: [], False: []}
    for seed in range(60):
        one, two = (draw(12, 3, seed=1000 * k + seed)[groups] + 0.1 * draw(60, 3, seed=5000 * k + seed) for k in (1, 2))
        for grouped, found in values.items():
            generator = torch.Generator().manual_seed(seed)
            result = compare_representations({"a": one}, {"b": two}, generator, groups=groups if grouped else None, shuffles=39)
            found.append(result.value("p"))
    assert kstest(values[True], "uniform").pvalue > 0.01
    assert kstest(values[False], "uniform").pvalue < 1e-6


def test_bad_input_is_refused() -> None:
    measure = CentredKernelAlignment()
    for first, second, text in (
        (draw(5, 2), draw(6, 2), "same samples"),
        (draw(2, 2), draw(2, 2), "at least 3"),
        (torch.ones(5, 2), draw(5, 2), "same for every sample"),
        (draw(5, 2) / 0, draw(5, 2), "NaN"),
    ):
        with pytest.raises(ValueError, match=text):
            measure(first, second)
    complex_state = torch.complex(draw(30, 4), draw(30, 4, seed=1))
    assert measure(complex_state, complex_state.imag) < 0.9
