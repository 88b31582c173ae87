"""Ideal words: representations as sums over factors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statescope.probe.subspaces.ideal_words import IdealWords


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grid(first: int, second: int) -> dict[str, Tensor]:
    """Every combination of two factors once; the values of the second are not 0, 1, ..."""
    both = torch.cartesian_prod(torch.arange(first), 10 * torch.arange(second))
    return {"colour": both[:, 0], "shape": both[:, 1]}


def test_ideal_words_are_marginal_means_where_all_combinations_are_there() -> None:
    factors, x = grid(3, 4), draw(12, 5)
    found = IdealWords.fit(x, factors)
    torch.testing.assert_close(found.centre, x.mean(0))
    for name, own in factors.items():
        means = torch.stack([x[own == value].mean(0) for value in found.values[name]])
        torch.testing.assert_close(found.words[name], means - x.mean(0))
    assert 0 < found.residual(x, factors) < 1


def test_sums_reach_combinations_that_were_never_seen() -> None:
    factors, colours, shapes = grid(3, 4), draw(3, 6), draw(4, 6, seed=1)
    x = 2 + colours[factors["colour"]] + shapes[factors["shape"] // 10]
    seen = torch.arange(12) != 5
    found = IdealWords.fit(x[seen], {name: own[seen] for name, own in factors.items()})
    torch.testing.assert_close(found(factors), x)
    assert found.residual(x, factors) < 1e-24
    for words in found.words.values():
        torch.testing.assert_close(words.mean(0), torch.zeros(6, dtype=torch.float64))


def test_a_factor_is_taken_out_of_what_is_additive() -> None:
    factors = grid(3, 4)
    x = draw(3, 6)[factors["colour"]] + draw(4, 6, seed=1)[factors["shape"] // 10]
    found = IdealWords.fit(x, factors, hook="blocks.0.hook_resid_post")
    span = found.subspace("colour")
    assert (span.rank, span.hook) == (2, "blocks.0.hook_resid_post")
    left = IdealWords.fit(span.remove(x), factors)
    assert float(left.words["colour"].norm()) < 1e-12 < 0.1 < float(left.words["shape"].norm())


def test_bad_factors_are_refused() -> None:
    factors, x = grid(2, 2), draw(4, 3)
    for features, given, text in (
        (x, {}, "need factors"),
        (x / 0, factors, "finite"),
        (x, {"colour": torch.arange(3)}, "one value each"),
        (x, {"colour": torch.zeros(4).long()}, "one value in all samples"),
    ):
        with pytest.raises(ValueError, match=text):
            IdealWords.fit(features, given)
    found = IdealWords.fit(x, factors)
    with pytest.raises(ValueError, match="no ideal word"):
        found({"colour": torch.tensor([7]), "shape": torch.tensor([0])})


def test_samples_that_lack_a_factor_do_not_count() -> None:
    factors, x = grid(3, 4), draw(12, 5)
    seen = torch.arange(12) != 5
    lacking = factors | {"shape": factors["shape"].masked_fill(~seen, -100)}
    found, alone = IdealWords.fit(x, lacking), IdealWords.fit(x[seen], {name: own[seen] for name, own in factors.items()})
    assert found.values["shape"].tolist() == [0, 10, 20, 30]
    torch.testing.assert_close(found(factors), alone(factors))
    with pytest.raises(ValueError, match="a whole number"):
        IdealWords.fit(x, factors | {"shape": factors["shape"].double()})
    with pytest.raises(TypeError, match="complex"):
        IdealWords.fit(x.to(torch.complex128), factors)


def test_a_constant_added_to_the_features_moves_the_centre_alone_where_combinations_lack() -> None:
    """Of many solutions the least one on the features as they are would turn with where they are counted from."""
    factors = {"a": torch.tensor([0, 0, 1, 1, 2, 2]), "b": torch.tensor([0, 1, 2, 2, 3, 3])}
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, moved = IdealWords.fit(x, factors), IdealWords.fit(x + 100, factors)
    for name in factors:
        torch.testing.assert_close(moved.words[name], found.words[name])
    torch.testing.assert_close(moved.centre, found.centre + 100)
