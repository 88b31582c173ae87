"""Erasers beyond LEACE and the mean projection: against theory, and the package concept-erasure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from torch import Tensor

from statescope.directions import Inlp, Leace, MeanProjection, OracleLeace, QuadraticLeace, Rlace
from statescope.estimators import Logistic, NaiveBayes, Perceptron, Ridge
from statescope.probe.erasure.adversarial_projection import onto_fantope

WHERE = {"hook": "blocks.0.hook_resid_post", "name": "concept"}


def skewed(samples: int, features: int, gap: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two classes whose means differ by mu, in noise of very different sizes along axes that mu mixes: (x, labels, mu)."""
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(features, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-0.7, 0.7, features, dtype=torch.float64)
    label = torch.randint(0, 2, (samples,), generator=generator)
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64) * scales
    return noise + gap * (label[:, None] - 0.5) * mu + 4, label, mu / mu.norm()


def read(x: Tensor, label: Tensor, test: Tensor, truth: Tensor) -> float:
    probe = Logistic(penalties=(1e-4,)).fit_many(x, {"y": label}, torch.arange(len(x)))["y"]
    return float((probe.predict(test) == truth).double().mean())


def test_the_adversarial_direction_is_what_the_classes_differ_by_and_a_probes_own_is_not() -> None:
    """Removing mu leaves classes of one mean; removing Sigma^{-1} mu, along which a probe reads, does not."""
    x, label, mu = skewed(3001, 9)
    test, truth, _ = skewed(1501, 9, seed=0)
    majority = float(truth.bincount().max()) / len(truth)
    adversarial = Rlace().fit(x, label, **WHERE)
    assert adversarial.rank == 1 and float((adversarial.right[0] @ mu).abs()) > 0.99
    torch.testing.assert_close(adversarial.right @ adversarial.left, torch.eye(1, dtype=torch.float64))
    assert read(x, label, test, truth) > majority + 0.25
    assert abs(read(adversarial(x), label, adversarial(test), truth) - majority) < 0.03
    first = Inlp(rounds=1).fit(x, label, **WHERE)
    assert first.rank == 1 and float((first.right[0] @ mu).abs()) < 0.9
    assert read(first(x), label, first(test), truth) > majority + 0.1


def test_fewer_dimensions_than_the_classes_need_leave_the_most_loss() -> None:
    """Of three classes, one dimension: no other one of a fine grid leaves a larger loss, and the loss is what the class says."""
    generator = torch.Generator().manual_seed(3)
    label = torch.randint(0, 3, (400,), generator=generator)
    means = torch.tensor([[2.0, 0.0], [-1.0, 0.4], [-1.0, -0.4]], dtype=torch.float64)
    x = torch.randn(400, 2, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 0.5]) + means[label]
    chosen = Rlace(penalty=1e-4).fit(x, label, **WHERE).right[0]

    def left(angle: Tensor) -> float:
        direction = torch.stack([angle.cos(), angle.sin()])
        along = x - (x - x.mean(0)) @ direction[:, None] * direction
        probe = Logistic(penalties=(1e-4,)).fit_many(along, {"y": label}, torch.arange(400))["y"]
        return -float(probe.log_probabilities(along).gather(1, label[:, None]).mean())

    grid = torch.linspace(0, torch.pi, 61, dtype=torch.float64)[:-1]
    losses = [left(angle) for angle in grid]
    own = left(torch.atan2(chosen[1], chosen[0]))
    assert own > max(losses) - 2e-3 and max(losses) - min(losses) > 0.2


def test_nullspace_projection_goes_on_until_no_probe_reads_the_class() -> None:
    x, label, _ = skewed(1201, 7, gap=0.8)
    eraser = Inlp().fit(x, label, **WHERE)
    assert 2 <= eraser.rank <= 7
    torch.testing.assert_close(eraser.right @ eraser.left, torch.eye(eraser.rank, dtype=torch.float64))
    majority = float(label.bincount().max()) / len(label)
    assert read(eraser(x), label, eraser(x), label) < majority + 0.03 < 0.7 < read(x, label, x, label)
    moved = {kind: float((fitter.fit(x, label, **WHERE)(x) - x).square().sum()) for kind, fitter in FITTERS.items()}
    assert moved["leace"] < moved["mean_projection"] < moved["inlp"]


FITTERS = {"leace": Leace(), "mean_projection": MeanProjection(), "inlp": Inlp()}


@pytest.mark.parametrize("fitter", [Inlp(), Rlace(rank=2, steps=20)], ids=lambda fitter: fitter.kind)
def test_samples_without_a_label_are_left_out_and_odd_ones_refused(fitter: Inlp | Rlace) -> None:
    x, label, _ = skewed(301, 6)
    holed, broken = label.clone(), x.clone()
    holed[:40], broken[:40] = -100, torch.nan
    torch.testing.assert_close(fitter.fit(broken, holed, **WHERE)(x), fitter.fit(x[40:], label[40:], **WHERE)(x))
    complex_ = torch.view_as_complex(x.view(-1, 3, 2))
    both = torch.view_as_real(fitter.fit(complex_, label, **WHERE)(complex_)).flatten(1)
    torch.testing.assert_close(both, fitter.fit(x, label, **WHERE)(x))
    with pytest.raises(ValueError, match="must be finite"):
        fitter.fit(broken, label, **WHERE)
    with pytest.raises(ValueError, match="nothing to erase"):
        fitter.fit(x, torch.ones_like(label), **WHERE)
    with pytest.raises(TypeError, match="labels are classes"):
        fitter.fit(x, x[:, 0], **WHERE)


def test_what_cannot_be_played_is_refused() -> None:
    x, label, _ = skewed(301, 6)
    with pytest.raises(ValueError, match="6 dimensions vary, and 6 are to be erased"):
        Rlace(rank=6).fit(x, label, **WHERE)
    with pytest.raises(TypeError, match="fits no linear probe"):
        Inlp(estimator=NaiveBayes()).fit(x, label, **WHERE)
    noise = torch.randn(301, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.raises(ValueError, match="nothing to erase"):
        Inlp(estimator=Ridge(penalties=(1.0,))).fit(noise, (torch.arange(301) < 40).long(), **WHERE)


def test_the_fantope_is_reached_at_its_nearest_point() -> None:
    generator = torch.Generator().manual_seed(0)
    for rank in (1, 3):
        wild = torch.randn(7, 7, generator=generator, dtype=torch.float64)
        wild = wild + wild.T
        found = onto_fantope(wild, rank)
        values = torch.linalg.eigvalsh(found)
        assert values.min() > -1e-9 and values.max() < 1 + 1e-9
        torch.testing.assert_close(values.sum(), torch.tensor(float(rank), dtype=torch.float64))
        for _ in range(50):  # <wild - found, other - found> <= 0 for every other point of a convex set
            turned = torch.linalg.qr(torch.randn(7, 7, generator=generator, dtype=torch.float64))[0][:, :rank]
            assert float(((wild - found) * (turned @ turned.T - found)).sum()) < 1e-9


def unlike(samples: int = 901, features: int = 5) -> tuple[Tensor, Tensor]:
    """Three classes with means and covariances of their own."""
    generator = torch.Generator().manual_seed(4)
    label = torch.randint(0, 3, (samples,), generator=generator)
    mixes = torch.randn(3, features, features, generator=generator, dtype=torch.float64)
    means = 2 * torch.randn(3, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    return torch.einsum("ni,nij->nj", noise, mixes[label]) + means[label], label


def test_both_agree_with_concept_erasure() -> None:
    """Theirs of optimal transport, with covariances over n and the mean of all samples: ours keeps it."""
    stored = json.loads((Path(__file__).parent / "oracles" / "leace.json").read_text())
    x, label = torch.tensor(stored["x"], dtype=torch.float64), torch.tensor(stored["z"])
    for fitter, name in ((OracleLeace(), "oracle"), (QuadraticLeace(), "quadratic")):
        theirs = torch.tensor(stored[name], dtype=torch.float64)
        torch.testing.assert_close(fitter.fit(x, label, **WHERE)(x, label), theirs, atol=1e-6, rtol=0)


def test_oracle_leace_erases_what_is_linear_and_moves_less_than_leace() -> None:
    x, label = unlike()
    eraser = OracleLeace().fit(x, label, **WHERE)
    erased = eraser(x, label)
    for own in range(3):
        torch.testing.assert_close(erased[label == own].mean(0), x.mean(0))
    assert (erased - x).square().sum() < (Leace().fit(x, label, **WHERE)(x) - x).square().sum()
    majority = float(label.bincount().max()) / len(label)
    for estimator in (Ridge(penalties=(1e-6,)), Logistic(penalties=(1e-6,), tolerance=1e-8)):
        probe = estimator.fit_many(erased, {"y": label}, torch.arange(len(x)))["y"]
        assert float((probe.predict(erased) == label).double().mean()) == majority
    value = torch.stack([x[:, 0] * x[:, 1], x[:, 2]], 1)
    numbers = OracleLeace().fit(x, value, **WHERE)(x, value)
    assert ((numbers - numbers.mean(0)).T @ (value - value.mean(0))).abs().max() < 1e-8
    expected = x - torch.linalg.lstsq(value - value.mean(0), x - x.mean(0))[0].T.matmul((value - value.mean(0)).T).T
    torch.testing.assert_close(numbers, expected)


def test_after_quadratic_leace_no_quadratic_probe_tells_classes_apart() -> None:
    x, label = unlike()
    erased = QuadraticLeace().fit(x, label, **WHERE)(x, label)
    covariances = [torch.cov(erased[label == own].T, correction=0) for own in range(3)]
    for own in range(3):
        torch.testing.assert_close(erased[label == own].mean(0), x.mean(0))
        torch.testing.assert_close(covariances[own], covariances[0], atol=1e-7, rtol=1e-7)
    majority = float(label.bincount().max()) / len(label)

    def quadratic(features: Tensor) -> float:
        shares = (label.bincount() / len(label)).tolist()
        fitted = QuadraticDiscriminantAnalysis(priors=shares, reg_param=1e-3).fit(features.numpy(), label.numpy())
        return float(fitted.score(features.numpy(), label.numpy()))

    linear = Leace().fit(x, label, **WHERE)(x)
    assert quadratic(erased) == majority < majority + 0.2 < quadratic(linear)
    deeper = Perceptron(penalties=(1e-3,)).fit_many(linear, {"y": label}, torch.arange(len(x)))["y"]
    assert float((deeper.predict(linear) == label).double().mean()) > majority + 0.2  # LEACE hides nothing from it


def test_what_is_told_the_label_works_on_sequences_sides_and_what_has_none() -> None:
    x, label = unlike(samples=601, features=4)
    for fitter in (OracleLeace(), QuadraticLeace()):
        vector = fitter.fit(x, label, **WHERE)
        stream, of = x[:600].view(50, 12, 4), label[:600].view(50, 12).clone()
        given = stream.clone()
        torch.testing.assert_close(vector.ablate(of)[1](stream, None).flatten(0, 1), vector(x[:600], label[:600]))
        assert torch.equal(stream, given)
        of[3, 4] = -100
        assert torch.equal(vector(stream, of)[3, 4], stream[3, 4])
        key = fitter.fit(x, label, **WHERE, side="key")
        state = x[:600].view(30, 2, 10, 4).transpose(-1, -2)  # [B, H, K, V]
        whole = label[:600].view(30, 2, 10)
        torch.testing.assert_close(key(state, whole).transpose(-1, -2).reshape(-1, 4), vector(x[:600], label[:600]))
        for_each = torch.arange(30) % 3
        torch.testing.assert_close(key(state, for_each), key(state, for_each[:, None, None].expand(30, 2, 10)))
        of[0, 0] = 7
        with pytest.raises(ValueError, match="labels other than those it was fitted to"):
            vector(stream, of)
        with pytest.raises(ValueError, match="do not go with vectors"):
            vector(stream, label[:50].view(10, 5))
        complex_ = torch.view_as_complex(x.view(-1, 2, 2))
        both = fitter.fit(complex_, label, **WHERE)
        torch.testing.assert_close(torch.view_as_real(both(complex_, label)).flatten(1), vector(x, label))
        with pytest.raises(ValueError, match="nothing to erase"):
            fitter.fit(x, torch.zeros_like(label), **WHERE)


def test_a_class_that_does_not_vary_along_all_dimensions_has_no_quadratic_eraser() -> None:
    x, label = unlike(samples=60, features=7)
    label[:] = torch.arange(60) < 5
    with pytest.raises(ValueError, match="the 5 samples of class 1 do not vary along all 7 dimensions"):
        QuadraticLeace().fit(x, label, **WHERE)
    flat, label = unlike(samples=300, features=3)
    lifted = flat @ torch.randn(3, 6, dtype=torch.float64)  # three dimensions of six, in which every class varies
    erased = QuadraticLeace().fit(lifted, label, **WHERE)(lifted, label)
    own, other = (torch.cov(erased[label == number].T, correction=0) for number in (0, 1))
    torch.testing.assert_close(own, other, atol=1e-7, rtol=1e-6)
