"""Finders of directions against planted ones, their intervals by coverage, and the causal inner product by its definition."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from statescope import Model, ModelConfig, capture
from statescope.directions import (
    CausalInnerProduct,
    Direction,
    DirectionFinder,
    KMeans,
    MeanDifference,
    PrincipalComponent,
    Reading,
    Subspace,
    WhitenedMeanDifference,
    direction_interval,
)
from statescope.estimators import LinearDiscriminant, Logistic, NaiveBayes
from statescope.probe.erasure.linear_erasers import Leace
from statescope.probe.errors import UnknownNameError

WHERE = {"hook": "blocks.0.hook_resid_post", "name": "concept"}
FINDERS: list[DirectionFinder] = [
    MeanDifference(),
    WhitenedMeanDifference(),
    Reading(),
    Reading(LinearDiscriminant()),
    PrincipalComponent(),
    KMeans(),
]


def planted(samples: int, features: int, gap: float, seed: int = 0, skew: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(features, generator=generator, dtype=torch.float64), dim=0)
    present = torch.rand(samples, generator=generator) < 0.4
    scales = torch.logspace(-skew, skew, features, dtype=torch.float64)
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64) * scales
    return noise + gap * present[:, None] * direction + 3, present, direction


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: f"{finder.kind}-{getattr(finder, 'estimator', '')}"[:24])
def test_each_finds_a_planted_direction_with_its_sense_and_scale(finder: DirectionFinder) -> None:
    x, present, direction = planted(1501, 11, 5.0)
    found = finder.fit(x, present, split="test", **WHERE)
    assert float(found.vector @ direction) > 0.97
    assert found.scale == pytest.approx(5.0, abs=0.25) and found.about["split"] == "test"
    turned = finder.fit(x, ~present, **WHERE)
    assert float(turned.vector @ direction) < -0.97 and turned.scale > 0
    assert finder.fit(x.float(), present, **WHERE).vector.dtype == torch.float32


def test_they_differ_where_the_noise_is_skewed() -> None:
    """A reading is Sigma^{-1} mu, the difference of means is mu, and the first component is where the noise is largest."""
    x, present, direction = planted(6001, 7, 1.5, skew=0.6)
    within = torch.linalg.solve(torch.diag(torch.logspace(-1.2, 1.2, 7, dtype=torch.float64)), direction)
    reading = Reading(LinearDiscriminant(penalties=(1e-6,))).fit(x, present, **WHERE)
    assert float(reading.vector @ within / within.norm()) > 0.98
    assert float(reading.vector @ direction) < 0.9 < 0.97 < float(MeanDifference().fit(x, present, **WHERE).vector @ direction)
    first = PrincipalComponent().fit(x, present, **WHERE)
    theirs = PCA(2).fit(x.numpy()).components_
    assert abs(first.vector.numpy() @ theirs[0]) > 1 - 1e-9
    assert abs(PrincipalComponent(number=2).fit(x, present, **WHERE).vector.numpy() @ theirs[1]) > 1 - 1e-9


def test_what_gives_no_direction_is_refused() -> None:
    x, present, _ = planted(60, 5, 1.0)
    for finder in FINDERS:
        with pytest.raises(ValueError, match="with and without"):
            finder.fit(x, torch.ones(60), **WHERE)
        with pytest.raises(ValueError, match="must be finite"):
            finder.fit(torch.where(x > 4, torch.nan, x), present, **WHERE)
    with pytest.raises(ValueError, match="length 0"):
        MeanDifference().fit(torch.ones(60, 5), present, **WHERE)
    with pytest.raises(TypeError, match="complex"):
        Reading().fit(x.to(torch.complex128), present, **WHERE)
    with pytest.raises(TypeError, match="no linear probe"):
        Reading(NaiveBayes()).fit(x, present, **WHERE)
    with pytest.raises(ValueError, match="no component 6"):
        PrincipalComponent(number=6).fit(x, present, **WHERE)
    for present in (torch.arange(60) < 3, torch.arange(60) >= 3):  # in one group alone, or missing in one alone
        with pytest.raises(ValueError, match="at least two groups"):
            direction_interval(MeanDifference(), x, present, groups=torch.arange(60).clamp(min=2) // 3, **WHERE)
    with pytest.raises(ValueError, match="at least two groups"):
        direction_interval(MeanDifference(), x, torch.arange(60) % 2 == 0, groups=torch.zeros(60).long(), **WHERE)


def test_the_interval_of_a_direction_holds_the_planted_one_at_its_rate() -> None:
    """200 draws; groups of four that share noise, which an interval over samples would take for four times as much data."""
    held, alone, draws = 0, 0, 200
    for seed in range(draws):
        generator = torch.Generator().manual_seed(1000 + seed)
        direction = torch.nn.functional.normalize(torch.randn(6, generator=generator, dtype=torch.float64), dim=0)
        groups = torch.arange(240) // 4
        present = groups % 2 == 0
        shared = torch.randn(60, 6, generator=generator, dtype=torch.float64)[groups]
        x = shared + 0.3 * torch.randn(240, 6, generator=generator, dtype=torch.float64) + 2 * present[:, None] * direction
        found = direction_interval(MeanDifference(), x, present, groups=groups, resamples=80, seed=seed, **WHERE)
        true = float(found.direction.vector @ direction)
        held += true >= found.low
        if seed < 50:
            alone += true >= direction_interval(MeanDifference(), x, present, resamples=40, seed=seed, **WHERE).low
    assert 0.9 <= held / draws <= 0.99, held
    assert alone / 50 < 0.85, alone


def test_random_subspaces_are_of_the_space_and_lie_where_activations_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    metric = root @ root.T + torch.eye(5, dtype=torch.float64)
    vector = torch.ones(5, dtype=torch.float64)
    like = Direction(vector / (vector @ metric @ vector).sqrt(), "h", "c", scale=3.0, metric=metric)
    drawn = Direction.random(like, generator)
    assert isinstance(drawn, Direction) and drawn.scale == 3.0
    assert float(drawn.vector @ metric @ drawn.vector) == pytest.approx(1)
    plane = Subspace(torch.eye(5)[:, :2], "h", "c")
    basis = Subspace.random(plane, generator).basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(2))
    narrow = torch.diag(torch.tensor([1.0, 1e-6, 1e-6, 1e-6, 1e-6]))
    assert Direction.random(Direction(torch.eye(5)[1], "h", "c"), generator, narrow).vector[0].abs() > 0.999
    complex_ = Subspace(torch.eye(3, 1).to(torch.complex64), "h", "c")
    assert Subspace.random(complex_, generator).basis.is_complex()


def test_a_metric_changes_angles_and_no_step() -> None:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    metric = root @ root.T
    a, b = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    first, second = (Direction(v / v.norm(), "h", "c", scale=2.0) for v in (a, b))
    expected = float(a @ metric @ b / ((a @ metric @ a) * (b @ metric @ b)).sqrt())
    assert first.under(metric).cosine(second.under(metric)) == pytest.approx(expected)
    assert abs(expected - first.cosine(second)) > 0.01
    zero = torch.zeros(6, dtype=torch.float64)
    torch.testing.assert_close(first.under(metric).add(zero, 1.5), first.add(zero, 1.5))
    torch.testing.assert_close(first.under(metric).under(None).vector, first.vector)


def unembedded(concepts: int, features: int, seed: int = 0) -> tuple[Tensor, list[list[tuple[int, int]]]]:
    """Tokens that are all settings of some binary concepts, with orthogonal differences, in a space that is then skewed."""
    generator = torch.Generator().manual_seed(seed)
    settings = torch.tensor(
        [[(token >> bit) & 1 for bit in range(concepts)] for token in range(2**concepts)], dtype=torch.float64
    )
    differences = torch.linalg.qr(torch.randn(features, features, generator=generator, dtype=torch.float64))[0][:concepts]
    rest = 0.1 * torch.randn(len(settings), features, generator=generator, dtype=torch.float64)
    skew = torch.randn(features, features, generator=generator, dtype=torch.float64)
    rows = (settings @ differences + rest) @ skew
    pairs = [[(token, token | 1 << bit) for token in range(2**concepts) if not token >> bit & 1] for bit in range(concepts)]
    return rows.T, pairs


def test_concepts_that_change_apart_are_orthogonal_under_the_causal_inner_product_alone() -> None:
    unembedding, pairs = unembedded(5, 7)
    product = CausalInnerProduct.of(unembedding)
    rows = unembedding.T - unembedding.T.mean(0)
    torch.testing.assert_close(rows.T @ rows / len(rows), product.covariance)
    values, vectors = torch.linalg.eigh(product.covariance)
    whitened = rows @ vectors / values.sqrt()
    torch.testing.assert_close(whitened.T @ whitened / len(rows), torch.eye(7, dtype=torch.float64))
    found = [product.concept(unembedding, own, hook="unembed", name=str(bit)) for bit, own in enumerate(pairs)]
    plain = [direction.under(None) for direction in found]
    off = [[abs(a.cosine(b)) for a in side for b in side if a is not b] for side in (found, plain)]
    assert max(off[0]) < 0.1 < 0.25 < float(np.mean(off[1]))


def test_steering_changes_its_concept_alone() -> None:
    """Adding C^{-1} g moves the logits of a concept's pairs and of no other; adding the unembedding's own direction moves all."""
    unembedding, pairs = unembedded(5, 7)
    product = CausalInnerProduct.of(unembedding)
    concept = product.concept(unembedding, pairs[0], hook="unembed", name="first")
    steering = product.steering(concept, hook="blocks.1.hook_resid_post")
    assert steering.hook == "blocks.1.hook_resid_post" and float(
        steering.vector @ product.dual @ steering.vector
    ) == pytest.approx(1)
    # The Riesz map: what it adds to the logit of g is the causal inner product with g.
    torch.testing.assert_close(product.covariance @ steering.vector, concept.vector)

    def moved(direction: Tensor) -> list[float]:
        logits = direction @ unembedding
        return [float((logits[[b for _, b in own]] - logits[[a for a, _ in own]]).mean()) for own in pairs]

    own, naive = moved(steering.vector), moved(concept.under(None).vector)
    assert max(abs(other) for other in own[1:]) < 0.1 * own[0]
    assert max(abs(other) for other in naive[1:]) > 0.25 * naive[0]


def test_left_out_pairs_keep_the_direction_of_a_concept_and_not_of_chance() -> None:
    unembedding, pairs = unembedded(6, 9)
    product = CausalInnerProduct.of(unembedding)
    true = product.left_out(unembedding, pairs[2])
    chance = product.left_out(unembedding, [tuple(pair) for pair in torch.randperm(64)[:64].view(-1, 2).tolist()])
    assert float((true[:, None] > chance).double().mean()) > 0.75  # the area under the curve
    assert float(true.min()) > 1 > float(chance.mean())
    others = product.concept(unembedding, pairs[2][1:], hook="unembed", name="c")
    difference = unembedding[:, pairs[2][0][1]] - unembedding[:, pairs[2][0][0]]
    assert float(true[0]) == pytest.approx(float(difference @ product.metric @ others.vector))


def test_odd_unembeddings_and_pairs_are_refused() -> None:
    unembedding, pairs = unembedded(5, 7)
    with pytest.raises(ValueError, match="more tokens than dimensions"):
        CausalInnerProduct.of(unembedding[:, :6])
    product = CausalInnerProduct.of(unembedding)
    with pytest.raises(IndexError, match="tokens are 0 to 31"):
        product.concept(unembedding, [(0, 32)], hook="h", name="c")
    with pytest.raises(ValueError, match="do not differ"):
        product.concept(unembedding, [(3, 3)], hook="h", name="c")
    with pytest.raises(ValueError, match="no pair"):
        product.concept(unembedding, [], hook="h", name="c")
    with pytest.raises(ValueError, match="at least two"):
        product.left_out(unembedding, pairs[0][:1])
    assert math.isfinite(float(product.metric.sum()))


@pytest.mark.parametrize("finder", [MeanDifference(), Reading(Logistic())])
def test_samples_without_a_label_are_not_taken_for_the_concept(finder: DirectionFinder) -> None:
    features, present = torch.randn(40, 3), torch.arange(40) % 2
    features[:, 0] += 4 * present
    with pytest.raises(ValueError, match="without a label"):
        finder.fit(features, torch.where(torch.arange(40) > 35, -100, present), hook="h", name="c")
    with pytest.raises(ValueError, match="without a label"):
        direction_interval(finder, features, 2 * present, hook="h", name="c")
    with pytest.raises(ValueError, match="without a label"):
        Direction.difference_of_means(features, present.double().masked_fill(present == 1, torch.nan), hook="h", name="c")


def test_a_capture_gives_the_samples_of_a_concept() -> None:
    model = Model(ModelConfig(vocabulary=7, width=8, layers=1))
    rows, words = torch.randint(0, 7, (6, 5)), ["low", "high", "high", None, "low", "none"]
    labels = {"height": words, "odd": rows % 2, "token": rows}
    kept = capture(model, rows, positions=[1, 4], labels=labels, groups=[0, 1, 1, 2, 3, 3])
    hook = kept.hooks[0]
    found = kept.concept(hook, "height", "high")
    assert found["present"].tolist() == [word == "high" for word in words if word is not None for _ in range(2)]
    assert found["groups"].tolist() == kept.sample_groups[[0, 1, 2, 3, 4, 5, 8, 9, 10, 11]].tolist()
    torch.testing.assert_close(found["features"], kept.features(hook)[[0, 1, 2, 3, 4, 5, 8, 9, 10, 11]], rtol=0, atol=0)
    assert kept.concept(hook, "odd")["present"].tolist() == (rows[:, [1, 4]] % 2 == 1).flatten().tolist()
    assert kept.concept(hook, "token", 3)["present"].tolist() == (rows[:, [1, 4]] == 3).flatten().tolist()
    assert MeanDifference().fit(**kept.concept(hook, "odd")).hook == hook
    with pytest.raises(UnknownNameError, match="hgh.*high"):
        kept.concept(hook, "height", "hgh")
    with pytest.raises(ValueError, match="low, none|say which of them is the concept"):
        kept.concept(hook, "height")
    with pytest.raises(ValueError, match="say which of them is the concept"):
        kept.concept(hook, "token")


def test_under_the_whitened_metric_one_direction_reads_moves_and_erases() -> None:
    x, present, _ = planted(4000, 7, 1.5, skew=0.6)
    found = WhitenedMeanDifference(shrinkage=1e-9).fit(x, present, **WHERE)
    means = [x[side].mean(0) for side in (present, ~present)]
    torch.testing.assert_close(found.scale * found.vector, means[0] - means[1])
    theirs = Reading(LinearDiscriminant(penalties=(1e-9,))).fit(x, present, **WHERE).vector
    read = found.metric @ found.vector
    assert float(read @ theirs / read.norm()) > 1 - 1e-6, "it reads what Fisher's discriminant reads"
    assert float(MeanDifference().fit(x, present, **WHERE).vector @ theirs) < 0.9
    without = found.counted_from(x.mean(0)).remove(x)
    erased = Leace().fit(x, present.long(), **WHERE)(x)
    # LEACE whitens by the covariance of all samples, which gives the same oblique projection.
    torch.testing.assert_close(without, erased, rtol=1e-6, atol=1e-6)
    plain = MeanDifference().fit(x, present, **WHERE).counted_from(x.mean(0)).remove(x)
    assert (plain - erased).abs().max() > 0.1
    sure = direction_interval(WhitenedMeanDifference(), x, present, resamples=20, groups=torch.arange(4000) // 8, **WHERE)
    assert 0.9 < sure.low < 1


def test_what_a_class_says_already_is_taken_out() -> None:
    """Tokens have means far apart and go with the concept; what the concept adds to the same token is another direction."""
    generator = torch.Generator().manual_seed(0)
    token = torch.randint(0, 4, (6000,), generator=generator)
    present = torch.rand(6000, generator=generator) < torch.tensor([0.1, 0.3, 0.7, 0.9])[token]
    apart = torch.linalg.qr(torch.randn(9, 5, generator=generator, dtype=torch.float64))[0].T
    own, means = apart[0], 8 * apart[1:]
    x = torch.randn(6000, 9, generator=generator, dtype=torch.float64) + means[token] + 3 * present[:, None] * own
    for finder in (MeanDifference(), Reading(LinearDiscriminant())):
        found = finder.fit(x, present, given=token, **WHERE)
        assert float(found.vector @ own) > 0.99 and found.scale == pytest.approx(3, abs=0.15)
    assert float(MeanDifference().fit(x, present, **WHERE).vector @ own) < 0.7
    with pytest.raises(ValueError, match="no class of `given`"):
        MeanDifference().fit(x, token > 1, given=token, **WHERE)


def test_coordinates_count_from_the_origin(tmp_path: Path) -> None:
    x, present, _ = planted(500, 6, 2.0)
    found = MeanDifference().fit(x, present, **WHERE)
    moved = found.counted_from(x[~present].mean(0))
    along = moved.project(x) / moved.scale
    assert float(along[~present].mean()) == pytest.approx(0, abs=1e-9) and float(along[present].mean()) == pytest.approx(1)
    torch.testing.assert_close(moved.project(moved.remove(x)), torch.zeros(500, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(moved.project(moved.reflect(x)), -moved.project(x))
    torch.testing.assert_close(moved.add(x, 2.0), found.add(x, 2.0))
    again = Direction.load(moved.save(tmp_path / "moved"))
    torch.testing.assert_close(again.remove(x), moved.remove(x))
    assert torch.equal(again.at("other").origin, moved.origin) and torch.equal(moved.under(torch.eye(6)).origin, moved.origin)
    torch.testing.assert_close(Direction.random(moved, torch.Generator().manual_seed(0)).origin, moved.origin)
    with pytest.raises(ValueError, match=r"origin is \[6\]"):
        found.counted_from(torch.zeros(5))
    with pytest.raises(ValueError, match="an origin"):
        moved.ablation_edits(0, [1, 6])
    complex_one = Direction(torch.tensor([1j, 0j]), "hook", "c", origin=torch.tensor([1 + 2j, 3j]))
    torch.testing.assert_close(Direction.load(complex_one.save(tmp_path / "complex")).origin, complex_one.origin)
