"""How labels and concepts lie: parallelism, generalisation over conditions, and embeddings of latent concepts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statescope.analyses.geometry.abstraction import cross_condition_score, parallelism
from statescope.analyses.geometry.latent_concepts import (
    UNKNOWN,
    LatentConcepts,
    concept_alignment,
    steering_vectors,
    train_embeddings,
)
from statescope.estimators import Logistic


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_abstraction_of_a_parallel_code_and_of_one_that_turns_around() -> None:
    label, condition = torch.arange(400) % 2, torch.arange(400) // 100
    noise, axis, places = 0.3 * draw(400, 12), 2 * torch.eye(12, dtype=torch.float64)[0], draw(4, 12, seed=2)
    places[:, 0] = 0
    parallel = noise + 3 * places[condition] + label[:, None] * axis
    assert parallelism(parallel, label, condition) > 0.9
    assert cross_condition_score(parallel, label, condition) > 0.95
    signs = torch.tensor([1.0, -1.0]).double()[condition % 2]
    turned = noise + 3 * places[condition] + (signs * label)[:, None] * axis
    assert parallelism(turned, label, condition) == pytest.approx((2 - 4) / 6, abs=0.1)  # two pairs alike, four opposite
    assert cross_condition_score(turned, label, condition) < 0.6
    with pytest.raises(ValueError, match="two conditions"):
        parallelism(noise, label, 0 * condition)
    with pytest.raises(ValueError, match="one value of the label alone"):
        parallelism(noise, (condition == 0).long(), condition)


def test_a_condition_that_is_scored_is_not_fitted() -> None:
    """Each condition has an axis of its own: a probe of all reads the label in each, one of the others does not."""
    label, condition = torch.arange(600) % 2, torch.arange(600) // 200
    apart = 0.1 * draw(600, 3) + label[:, None] * torch.eye(3, dtype=torch.float64)[condition]
    everywhere = Logistic(penalties=(1e-2,)).fit(apart, label, torch.arange(600))
    assert float((everywhere.predict(apart) == label).double().mean()) > 0.95
    assert cross_condition_score(apart, label, condition) < 0.65


def test_parallelism_is_the_mean_cosine() -> None:
    x = draw(8, 3)
    label, condition = torch.tensor([0, 1] * 4), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    first = x[[1, 3]].mean(0) - x[[0, 2]].mean(0)
    second = x[[5, 7]].mean(0) - x[[4, 6]].mean(0)
    by_hand = float(first @ second / (first.norm() * second.norm()))
    assert parallelism(x, label, condition) == pytest.approx(by_hand, rel=1e-12)


def test_tokens_agree_with_their_contexts_and_probabilities_are_conditional() -> None:
    world = LatentConcepts(3, dependence=1.0, seed=1)
    p = world.probabilities
    assert world.joint.sum() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(p.sum(1), torch.ones(27, dtype=torch.float64))
    for context, row in zip(world.contexts.tolist(), p, strict=True):
        for token, chance in zip(world.tokens.tolist(), row, strict=True):
            agrees = all(said in (UNKNOWN, own) for said, own in zip(context, token, strict=True))
            assert (float(chance) > 0) == agrees
    free = LatentConcepts(3, seed=2)
    marginal = [float(free.joint[free.tokens[:, i] == 1].sum()) for i in range(3)]
    both = float(free.joint[(free.tokens[:, 0] == 1) & (free.tokens[:, 1] == 1)].sum())
    assert both == pytest.approx(marginal[0] * marginal[1], rel=1e-12)
    tied = LatentConcepts(3, dependence=1.0, seed=2)
    both = float(tied.joint[(tied.tokens[:, 0] == 1) & (tied.tokens[:, 1] == 1)].sum())
    alone = [float(tied.joint[tied.tokens[:, i] == 1].sum()) for i in range(2)]
    assert abs(both - alone[0] * alone[1]) > 1e-3


def test_descent_is_that_of_autograd_and_lowers_the_loss() -> None:
    p, losses = LatentConcepts(2, seed=1).probabilities, list[float]()
    found = train_embeddings(p, 3, steps=2, learning_rate=0.05, scale=0.1, advance=lambda step, loss: losses.append(loss))
    f, g = (x.clone().requires_grad_() for x in train_embeddings(p, 3, steps=0, scale=0.1)[:2])
    for _ in range(2):
        loss = -(p * (f @ g.mT).log_softmax(1)).sum()
        for x, slope in zip((f, g), torch.autograd.grad(loss, (f, g)), strict=True):
            x.data -= 0.05 * slope
    torch.testing.assert_close(found.contexts, f.detach())
    torch.testing.assert_close(found.tokens, g.detach())
    assert losses[0] > losses[1] > losses[2] == found.excess > 0
    assert train_embeddings(p, 4, steps=2000).excess < 0.02


def test_steering_vectors_and_their_alignment() -> None:
    world = LatentConcepts(3)
    axes = torch.eye(3, 5, dtype=torch.float64)
    ideal = world.tokens.double() @ axes
    vectors = steering_vectors(ideal, world.tokens)
    assert {concept: len(own) for concept, own in vectors.items()} == {0: 4, 1: 4, 2: 4}
    torch.testing.assert_close(vectors[1], axes[1].expand(4, 5))
    assert concept_alignment(vectors) == (1.0, 0.0)
    slanted = steering_vectors(world.tokens.double() @ (axes + axes[[1, 0, 2]] * torch.tensor([[1.0], [0], [0]])), world.tokens)
    assert concept_alignment(slanted).across == pytest.approx(2**-0.5 / 3)
    assert concept_alignment(steering_vectors(draw(8, 40), world.tokens)).within < 0.7
    assert {len(own) for own in steering_vectors(draw(27, 4), world.contexts).values()} == {9}
    with pytest.raises(ValueError, match="two concepts"):
        concept_alignment({0: draw(4, 3)})


def test_samples_without_a_label_or_a_condition_do_not_count() -> None:
    label, condition = torch.arange(120) % 2, torch.arange(120) // 40
    x = draw(120, 5) + 2.0 * label[:, None]
    lacking_label, lacking_condition = label.clone(), condition.clone()
    lacking_label[:10], lacking_condition[110:] = -100, -100
    x[:10], x[110:] = torch.nan, 50.0
    kept = slice(10, 110)
    for measure in (parallelism, cross_condition_score):
        assert measure(x, lacking_label, lacking_condition) == measure(x[kept], label[kept], condition[kept])
    with pytest.raises(ValueError, match="two conditions"):
        parallelism(x.nan_to_num(), torch.where(label == 0, -100, 1), condition)  # -100 is no second value
    with pytest.raises(ValueError, match="must be finite"):
        parallelism(x, label, condition)
