"""What the gradients in one parameter are kept as: products by either route, uses that are added, positions that are left out."""

from __future__ import annotations

import pytest
import torch
from exact_kernels import DOUBLE, by_autograd, close
from torch import Tensor, nn

from statescope import empirical_ntk
from statescope.analyses.ntk import over_outputs, structured
from statescope.analyses.ntk import sparse_product as sparse
from statescope.analyses.ntk.coordinates import coordinates
from statescope.analyses.ntk.factors import Dense, Factor, Outer, Scattered
from statescope.analyses.ntk.inner_products import gram_is_cheaper, inner, inner_of_all
from statescope.analyses.ntk.over_outputs import side_by_side, together_by_pairs
from statescope.analyses.ntk.pieces import Pieces, joined, together
from statescope.analyses.ntk.products import batched_product, product, with_itself
from statescope.analyses.ntk.sparse_product import alive_rows, some_nonzero, sparse_product


def outer(samples: int, tokens: int, left: int, right: int) -> Outer:
    return Outer(torch.randn(samples, tokens, left, dtype=DOUBLE), torch.randn(samples, tokens, right, dtype=DOUBLE))


@pytest.mark.parametrize("samples", [1, 2, 6, 7])
@pytest.mark.parametrize("tokens", [1, 3, 11])
def test_both_routes_of_a_matrix_give_the_same_products(tokens: int, samples: int) -> None:
    """Between sets of unequal length too, on both sides of T* = sqrt(5 * 9 / 14) = 1.8 for many samples."""
    first, second = outer(samples, tokens, 5, 9), outer(4, 2, 5, 9)
    for one, other in ((first, second), (first, first)):
        exact = one.dense() @ other.dense().mT
        close(inner(one, other), exact)
        gram = torch.einsum("itl,jsl,itr,jsr->ij", one.left, other.left, one.right, other.right)
        close(gram, exact)
        at_equal_positions = torch.einsum("itl,jtl,itr,jtr->ij", *(2 * (one.left[:, :1],)), *(2 * (one.right[:, :1],)))
        assert tokens == 1 or one is not other or (at_equal_positions - exact).norm() > 0.1 * exact.norm()


@pytest.mark.parametrize(("left", "right"), [(128, 128), (64, 512), (31, 7)])
def test_the_route_changes_at_the_crossover(left: int, right: int) -> None:
    """T* = sqrt(d_l d_r / (d_l + d_r)) for many samples, where forming rows costs nothing beside multiplying them."""
    crossover = (left * right / (left + right)) ** 0.5
    many = 4000

    def shaped(tokens: int) -> Outer:
        return Outer(torch.empty(many, tokens, left, device="meta"), torch.empty(many, tokens, right, device="meta"))

    below, above = shaped(int(crossover)), shaped(int(crossover) + 2)
    assert gram_is_cheaper(below, below)
    assert not gram_is_cheaper(above, above)


def test_positions_where_nothing_arrives_are_left_out() -> None:
    own = outer(3, 6, 4, 5)
    own.left[:, [0, 2, 3]] = 0
    own.left[0, 1] = own.right[:, 4, 0] = 0  # what one sample alone, and one channel, would take for dead
    assert own.alive().tokens == 3
    close(inner(own, own), own.dense() @ own.dense().mT)


def test_uses_of_one_parameter_are_added_before_they_are_multiplied() -> None:
    first, second = outer(3, 2, 4, 5), outer(3, 6, 4, 5)
    looked_up = [Scattered(torch.randint(0, 4, (3, t)), torch.randn(3, t, 5, dtype=DOUBLE), 4) for t in (2, 6)]
    rows = Dense(torch.randn(3, 4, 5, dtype=DOUBLE))
    for uses in ([first, second], looked_up, [first, rows, *looked_up]):
        whole = together(uses)
        exact = torch.stack([use.dense() for use in uses]).sum(0)
        close(whole.dense(), exact)
        close(inner(whole, whole), exact @ exact.mT)
        left, right = torch.randn(4, dtype=DOUBLE), torch.randn(5, dtype=DOUBLE)
        close(whole.between(left, right), exact @ torch.outer(left, right).flatten())
        direction = torch.randn(4, 5, dtype=DOUBLE)
        close(whole.along(direction.reshape(-1, 1)), exact @ direction.reshape(-1, 1))
        several, weights = torch.randn(20, 3, dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)
        for same in (whole, whole.smallest()):
            close(same.along(several), exact @ several)
            close(same.pulled(weights), exact.T @ weights)
        assert whole.bound() >= exact.norm(dim=1).sum() - 1e-9
        apart = sum(inner(use, use) for use in uses)
        assert (apart - exact @ exact.mT).norm() > 0.05 * exact.norm()
        wide = inner_of_all([whole, whole], [whole, whole])
        close(wide[:, 0, :, 1], exact @ exact.mT)


def test_rows_of_several_passes_are_those_of_all_samples() -> None:
    """Of one kind and of several, by either route, with different positions, and where a pass has none."""
    looked_up: list[Factor | None] = [
        Scattered(torch.randint(0, 4, (n, 3)), torch.randn(n, 3, 5, dtype=DOUBLE), 4) for n in (2, 3)
    ]
    short = [Outer(own.left, own.right, (own.left, own.right)) for own in (outer(2, 1, 4, 5), outer(3, 1, 4, 5))]
    cases: list[list[Factor | None]] = [
        [outer(2, 1, 4, 5), outer(3, 1, 4, 5)],
        [outer(2, 9, 4, 5), outer(3, 9, 4, 5)],
        [outer(2, 2, 4, 5), outer(3, 1, 4, 5)],
        [outer(2, 1, 4, 5), outer(3, 2, 4, 5)],
        [outer(2, 9, 4, 5), None],
        [None, Dense(torch.randn(3, 4, 5, dtype=DOUBLE))],
        [Dense(torch.randn(2, 4, 5, dtype=DOUBLE)), Dense(torch.randn(3, 4, 5, dtype=DOUBLE))],
        [Dense(torch.randn(2, 4, 5, dtype=DOUBLE)), outer(3, 9, 4, 5)],
        looked_up,
        [looked_up[0], outer(3, 9, 4, 5)],
        [looked_up[0], Scattered(torch.randint(0, 4, (3, 2)), torch.randn(3, 2, 5, dtype=DOUBLE), 4)],
        [*short],
        [short[0], outer(3, 1, 4, 5)],
        [outer(2, 1, 4, 5), short[1]],
    ]
    for parts in cases:
        rows = [torch.zeros(n, 20, dtype=DOUBLE) if part is None else part.dense() for part, n in zip(parts, (2, 3), strict=True)]
        exact = torch.cat(rows)
        whole = joined(parts, (2, 3))
        assert (whole.samples, whole.width, whole.numbers > 0) == (5, 20, True)
        close(whole.dense(), exact)
        close(inner(whole, whole), exact @ exact.mT)
        other = outer(4, 3, 4, 5)
        close(inner(whole, other), exact @ other.dense().mT)
    assert isinstance(joined(cases[0], (2, 3)), Outer)
    assert isinstance(joined(cases[1], (2, 3)), Pieces)
    assert isinstance(joined([outer(2, 1, 4, 5), outer(3, 1, 5, 4)], (2, 3)), Pieces)


def test_a_product_of_rows_with_themselves() -> None:
    rows = torch.randn(7, 30, dtype=DOUBLE)
    close(with_itself(rows), rows @ rows.mT)
    close(with_itself(rows.mT), rows.mT @ rows)
    close(with_itself(rows[::2, 3:]), rows[::2, 3:] @ rows[::2, 3:].mT)


@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_each_sample(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    left, right, out = torch.randn(3, 4, 5, dtype=DOUBLE), torch.randn(3, 4, 7, dtype=DOUBLE), torch.empty(4, 35, dtype=DOUBLE)
    batched_product(left.mT, right, out[1:].unflatten(1, (5, 7)))
    close(out[1:], (left.mT @ right).flatten(1))
    close(product(left[0].mT, right[0]), left[0].mT @ right[0])
    negative = torch.complex(right[0], right[0]).conj().imag  # is kept as the negative of what lies in memory
    assert negative.is_neg()
    close(product(left[0].mT, negative), -left[0].mT @ right[0])
    close(with_itself(negative), right[0] @ right[0].mT)


def test_what_is_not_zero() -> None:
    """Numbers that cancel, that underflow where they are squared, and that are nan, are something."""
    rows = torch.tensor([[0, 0, 0], [1, -1, 0], [1e-300, 0, 0], [0, -1e-300, 0], [0, torch.nan, 0], [-0.0, 0, 0]], dtype=DOUBLE)
    assert some_nonzero(rows).tolist() == [False, True, True, True, True, False] == rows.any(-1).tolist()


@pytest.mark.parametrize("tokens", [1, 9])
def test_outputs_that_share_what_was_multiplied_are_multiplied_together(tokens: int) -> None:
    first = [Outer(outer(6, tokens, 5, 4).left, outer(6, tokens, 5, 4).right)]
    first += [Outer(first[0].left, outer(6, tokens, 5, 4).right) for _ in range(2)]
    turned = [Outer(factor.right, factor.left) for factor in first]
    exact = torch.stack([factor.dense() @ factor.dense().mT for factor in first]).sum(0)
    for factors in (first, turned):
        (merged,) = side_by_side(factors)
        close(inner(merged, merged), exact)
    copied = [Outer(factor.left.clone(), factor.right) for factor in first]
    (merged,) = side_by_side(copied)
    close(inner(merged, merged), exact)
    others = [Outer(factor.left + index, factor.right) for index, factor in enumerate(first)]
    assert side_by_side(others) == others
    summed = Outer(first[0].left, torch.stack([factor.right for factor in first]).sum(0))
    assert (inner(summed, summed) - exact).norm() > 0.1 * exact.norm()


def test_small_gradients_wait_for_those_of_other_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one position, biases and gains are multiplied once for all outputs, and once in a while where many wait."""
    model, x, y = Passes(), torch.randn(5, 9, 3), torch.randn(4, 9, 3)
    products = list[int]()

    def counted(one: Factor, other: Factor) -> Tensor:
        products.append(1)
        return inner(one, other)

    for place in (structured, over_outputs):
        monkeypatch.setattr(place, "inner", counted)
    for wait, times in ((2**22, 1), (0, 2)):  # of two outputs, whose kernels have six parameters
        monkeypatch.setattr(over_outputs, "GATHERED", wait)
        for columns in (None, y):
            products.clear()
            close(empirical_ntk(model, x, columns), empirical_ntk(model, x, columns, method="jacobian"))
            assert len(products) == 6 * times
    products.clear()
    monkeypatch.setattr(over_outputs, "SMALL", 0)
    close(empirical_ntk(model, x, y), empirical_ntk(model, x, y, method="jacobian"))
    assert len(products) == 6 * 2


def test_outputs_stand_side_by_side_only_where_both_sets_agree_on_how() -> None:
    """In one set of samples all outputs have one gradient, in the other they do not."""
    one, other = outer(3, 2, 4, 5), outer(6, 2, 4, 5)
    equal = [Outer(one.left, one.right.clone()) for _ in range(2)]
    apart = [Outer(outer(6, 2, 4, 5).left, other.right) for _ in range(2)]
    pairs: list[tuple[Factor, Factor]] = list(zip(equal, apart, strict=True))
    exact = torch.stack([left.dense() @ right.dense().mT for left, right in pairs]).sum(0)
    close(torch.stack([inner(left, right) for left, right in together_by_pairs(pairs)]).sum(0), exact)
    assert [own.sizes for own in side_by_side(equal)] == [(4, 10)]
    assert [own.sizes for own in side_by_side(apart)] == [(8, 5)]
    rows: list[tuple[Factor, Factor]] = [(Dense(left.dense()), Dense(right.dense())) for left, right in pairs]
    ((merged, its),) = together_by_pairs(rows)
    close(inner(merged, its), exact)


def test_vectors_of_which_few_differ_are_multiplied_by_their_coordinates() -> None:
    few = torch.randn(4, 10, dtype=DOUBLE)
    few[1, 0] = few[0, 0]
    ids = torch.randint(0, 4, (5 * 9,))
    ids[:4] = torch.arange(4)
    short = coordinates(few[ids])
    assert short is not None and short.shape == (45, 4)
    close(short @ short.T, few[ids] @ few[ids].T)
    assert ((ids[:, None] == ids).double() - short @ short.T).norm() > 0.1 * short.norm()
    same_channel = torch.randn(45, 10, dtype=DOUBLE)
    same_channel[:, 0] = 1
    for vectors in (torch.randn(45, 10, dtype=DOUBLE), same_channel, few):
        assert coordinates(vectors) is None
    right = [torch.randn(5, 9, 7, dtype=DOUBLE) for _ in range(2)]
    for own in right:
        own[:, 3] = 0
    left, short = few[ids].reshape(5, 9, 10), short.reshape(5, 9, 4)
    for outers in ([Outer(left, own, (short, own)) for own in right], [Outer(own, left, (own, short)) for own in right]):
        exact = torch.stack([own.dense() @ own.dense().mT for own in outers]).sum(0)
        (merged,) = side_by_side(outers)
        assert merged.shorter is not None
        close(inner(merged, merged), exact)
        close(inner(outers[0], outers[0]), outers[0].dense() @ outers[0].dense().mT)
        close(inner(outers[0], outers[1]), outers[0].dense() @ outers[1].dense().mT)


def test_what_is_computed_from_few_tokens_goes_by_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Embedding(3, 8), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 2))
    x, found = torch.randint(0, 3, (5, 12)), list[int | None]()

    def seen(vectors: Tensor) -> Tensor | None:
        short = coordinates(vectors)
        found.append(None if short is None else short.shape[1])
        return short

    monkeypatch.setattr("statescope.analyses.ntk.coordinates.coordinates", seen)
    read = lambda rows: rows.cumsum(1)[:, -1]  # noqa: E731
    kernel = empirical_ntk(model, x, read=read)
    close(kernel, empirical_ntk(model, x, read=read, method="jacobian"))
    assert found == [3, 3]
    monkeypatch.setattr(Outer, "as_short", lambda own: Outer(own.left[..., :2], own.right))
    assert (empirical_ntk(model, x, read=read) - kernel).norm() > 1e-3 * kernel.norm()


class Passes(nn.Module):
    """Counts how many tokens' gradients come through the products of what follows the sum over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.outward(torch.tanh(self.inward(x)).cumsum(1))))


def test_positions_without_a_gradient_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "WORTH", 0)
    x = torch.randn(6, 4, dtype=DOUBLE, requires_grad=True)
    matrix = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    for alive in ([1], [0, 2, 4, 5], [], list(range(6))):
        gradient = torch.zeros(6, 3, dtype=DOUBLE)
        gradient[alive] = torch.randn(len(alive), 3, dtype=DOUBLE)
        gradient[alive[:1], 0] = 0  # what one column alone would take for dead
        rows = alive_rows(gradient)
        assert (rows is None) == (len(alive) > 3)
        assert rows is None or rows.tolist() == alive
        found = torch.autograd.grad(sparse_product(x, matrix), (x, matrix), gradient)
        exact = torch.autograd.grad(x @ matrix, (x, matrix), gradient)
        for one, other in zip(found, exact, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    model, tokens = Passes(), torch.randn(5, 9, 3)
    close(empirical_ntk(model, tokens, output="full"), by_autograd(model, tokens))
