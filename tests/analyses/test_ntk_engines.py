"""The engines of the tangent kernel against each other: shapes on both sides of the crossover, tiles, ragged batches, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from memory import peak_mib
from torch import Tensor, nn

from statescope import DeltaNet, Mamba, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk.empirical_ntk import by_layer, tangent_kernel
from statescope.analyses.ntk.factors import Dense, Outer, Scattered, gram_is_cheaper, inner, inner_of_all, side_by_side, together
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.ntk.plan import NotEnoughMemoryError
from statescope.analyses.ntk.samples import Samples
from statescope.analyses.ntk.sparse_product import alive_rows, sparse_product
from statescope.probe.errors import UnknownNameError

DOUBLE = torch.float64


class Block(nn.Module):
    """Causal attention by torch's own function, and a network, each on a normalised stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.norm_too = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(self.norm(x))[:, None].chunk(3, -1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
        x = x + self.out(mixed)
        return x + self.network(self.norm_too(x))


class Transformer(nn.Module):
    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(7, width), nn.Parameter(torch.randn(9, width))
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.out = nn.Linear(width, 11)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x) + self.places[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.out(x)


class Unrolled(nn.Module):
    """An Elman network whose matrix is used at each of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.again, self.out = nn.Linear(3, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 8)
        for token in x.unbind(1):
            state = torch.tanh(self.inward(token) + self.again(state))
        return self.out(state)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3))


CASES: dict[str, tuple[Any, Tensor]] = {
    "network": (network, torch.randn(6, 4)),
    "unrolled recurrence": (Unrolled, torch.randn(5, 7, 3)),
    "transformer": (Transformer, torch.randint(0, 7, (5, 9))),
}


def close(found: Tensor, exact: Tensor, tolerance: float = 1e-12) -> None:
    assert (found - exact).norm() <= tolerance * exact.norm()


def by_autograd(model: nn.Module, x: Tensor) -> Tensor:
    """[N, O, N, O] from the gradient of each output of each sample, from a pass of its own."""
    model, x = model.double(), x.double() if x.is_floating_point() else x
    parameters = list(model.parameters())
    rows = []
    for sample in x:
        values = model(sample[None])[0]
        for value in values if values.ndim == 1 else values[-1]:
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    stacked = torch.stack(rows).unflatten(0, (len(x), -1))
    return torch.tensordot(stacked, stacked, ([2], [2]))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("output", ["trace", "full", 1])
def test_engines_agree(name: str, output: Any) -> None:
    make, x = CASES[name]
    model = make()
    exact = tangent_kernel(model, x, output=output, method="jacobian")
    assert exact.method == "jacobian"
    found = tangent_kernel(model, x, output=output)
    assert (found.method, set(found.routes.values())) == ("structured", {"structured"})
    close(found.values, exact.values)
    close(tangent_kernel(model, x, output=output, method="ghost").values, exact.values)


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_between_two_sets_is_a_block_of_that_of_both(name: str) -> None:
    make, x = CASES[name]
    model = make()
    whole = empirical_ntk(model, x, output="full")
    close(empirical_ntk(model, x[:2], x[2:], "full"), whole[:2, :, 2:])
    close(empirical_ntk(model, x[:2], x[2:], method="jacobian"), torch.einsum("iojo->ij", whole[:2, :, 2:]))
    close(empirical_ntk(model, x[:3], x[1:], 0, method="ghost"), whole[:3, 0, 1:, 0])


@pytest.mark.parametrize("output", ["trace", "full", 1])
@pytest.mark.parametrize("method", ["structured", "jacobian", "ghost"])
def test_tiles_make_the_same_kernel(output: Any, method: Any) -> None:
    model, x = Unrolled(), torch.randn(7, 3, 3)
    whole = empirical_ntk(model, x, output=output)
    close(empirical_ntk(model, x, output=output, method=method, tile=3), whole)
    close(
        empirical_ntk(model, x[:5], x[4:], output, method=method, tile=2),
        whole[:5, ..., 4:] if output != "full" else whole[:5, :, 4:],
    )


def test_each_product_of_tiles_is_the_wholes() -> None:
    model, x = Unrolled(), torch.randn(7, 4, 3)
    for output in ("full", "trace", 1):
        whole = TangentKernelOperator(model, x, output=output)
        tiled = TangentKernelOperator(model, x, output=output, tile=3)
        v = torch.randn(whole.shape[1], 2, dtype=DOUBLE)
        close(tiled.matmat(v), whole.matmat(v))
    cross = TangentKernelOperator(model, x[:3], x[3:])
    assert not cross.self_adjoint
    close(cross.adjoint().dense(), cross.dense().mT)


# --- one parameter's factors --------------------------------------------------------------------------------------------------


def outer(samples: int, tokens: int, left: int, right: int) -> Outer:
    return Outer(torch.randn(samples, tokens, left, dtype=DOUBLE), torch.randn(samples, tokens, right, dtype=DOUBLE))


@pytest.mark.parametrize("tokens", [1, 3, 7, 11])
def test_both_routes_of_a_matrix_give_the_same_products(tokens: int) -> None:
    """Between sets of unequal length too, on both sides of T* = sqrt(5 * 9 / 14) = 1.8 for many samples."""
    first, second = outer(6, tokens, 5, 9), outer(4, 2, 5, 9)
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
        close(whole.total(), exact.sum(0))
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
    assert side_by_side(copied) == copied
    summed = Outer(first[0].left, torch.stack([factor.right for factor in first]).sum(0))
    assert (inner(summed, summed) - exact).norm() > 0.1 * exact.norm()


# --- what is counted, and where outputs are read ------------------------------------------------------------------------------


def test_parts_add_up_and_a_part_is_the_kernel_of_its_parameters() -> None:
    model, x = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=DeltaNet(heads=2))).eval(), torch.randint(0, 5, (4, 6))
    found = tangent_kernel(model, x, group=by_layer)
    assert list(found.parts) == ["embed", "blocks.0", "blocks.1", "ln_final", "unembed"]
    close(torch.stack(list(found.parts.values())).sum(0), found.values)
    alone = tangent_kernel(model, x, parameters="blocks.1.*")
    close(alone.values, found.parts["blocks.1"])
    assert all(name.startswith("blocks.1.") for name in alone.routes)
    close(empirical_ntk(model, x, parameters=lambda name: "blocks.1" in name), alone.values)
    by_func = tangent_kernel(model, x, group=by_layer, method="jacobian")
    close(by_func.parts["blocks.0"], found.parts["blocks.0"], 1e-10)
    with pytest.raises(UnknownNameError, match="parameter 'block.1"):
        empirical_ntk(model, x, parameters=["blocks.0.*", "block.1.*"])
    with pytest.raises(ValueError, match="takes none"):
        empirical_ntk(model, x, parameters=lambda name: False)
    by_products = tangent_kernel(model, x, x[:3], "full", group=by_layer, method="ghost")
    structured = tangent_kernel(model, x, x[:3], "full", group=by_layer)
    assert list(by_products.parts) == list(structured.parts)
    for name, part in structured.parts.items():
        close(by_products.parts[name], part, 1e-10)
    close(by_products.values, structured.values, 1e-10)


def test_projected_parts_add_up_and_are_off_by_what_they_say() -> None:
    """Each group is projected by itself: the parts' errors are independent, and no product of two groups is in the sum."""
    model, x = network(), torch.randn(4, 4)
    exact = tangent_kernel(model, x, group=by_layer)
    draws = [tangent_kernel(model, x, group=by_layer, method="projected", features=32, seed=seed) for seed in range(200)]
    for name, part in exact.parts.items():
        own = torch.stack([draw.parts[name] for draw in draws])
        assert ((own.mean(0) - part).abs() < 5 * own.std(0) / 200**0.5).all()
    values = torch.stack([draw.values for draw in draws])
    close(values[0], torch.stack(list(draws[0].parts.values())).sum(0))
    said = torch.stack([draw.standard_error for draw in draws if draw.standard_error is not None]).square().mean(0).sqrt()
    assert ((values.mean(0) - exact.values).abs() < 5 * values.std(0) / 200**0.5).all()
    assert (values.std(0) < 1.25 * said).all()
    together = [tangent_kernel(model, x, method="projected", features=32, seed=seed).standard_error for seed in range(20)]
    assert said.mean() < torch.stack([own for own in together if own is not None]).mean()


@pytest.mark.parametrize("mixer", [DeltaNet(heads=2), Mamba()])
def test_padding_changes_nothing(mixer: Any) -> None:
    """Sequences of three lengths in one padded batch, read at their ends, against each pair without padding."""
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=mixer)).eval()
    x, lengths = torch.randint(0, 5, (3, 7)), torch.tensor([7, 2, 5])
    found = empirical_ntk(model, Samples(x, positions=lengths - 1), output="full")
    for i in range(3):
        for j in range(3):
            pair = empirical_ntk(model, x[i : i + 1, : lengths[i]], x[j : j + 1, : lengths[j]], "full")
            close(found[i, :, j], pair[0, :, 0], 1e-10)
    other = x.clone()
    other[1, 2:] = (x[1, 2:] + 1) % 5
    close(empirical_ntk(model, Samples(other, positions=lengths - 1), output="full"), found)
    wrong = empirical_ntk(model, x, output="full")
    assert (wrong - found).norm() > 0.1 * found.norm()
    several = empirical_ntk(model, Samples(x, positions=torch.stack([lengths - 1, lengths - 2], 1)), output="full")
    close(several[:, :5, :, :5], found, 1e-10)


class Masked(nn.Module):
    """The mean of what is not masked: the model itself takes the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.out((torch.tanh(self.embed(x)) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def test_a_model_with_a_mask() -> None:
    model, x = Masked(), torch.randint(0, 5, (3, 6))
    mask = torch.ones(3, 6)
    mask[1, 3:] = 0
    found = empirical_ntk(model, Samples(x, mask))
    short = empirical_ntk(model, Samples(x[1:2, :3], mask[1:2, :3]), Samples(x[:1], mask[:1]))
    close(found[1:2, :1], short)
    with pytest.raises(ValueError, match="same number of samples"):
        Samples(x, mask[:2])


# --- functions that have a rule -----------------------------------------------------------------------------------------------


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=True)
        self.second = nn.Conv2d(4, 6, 2, dilation=2, groups=2, bias=False)
        self.groups, self.batch = nn.GroupNorm(2, 6), nn.BatchNorm2d(4)
        self.slope, self.out = nn.Parameter(torch.rand(6, 1, 1)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.batch(self.first(x)))
        x = self.groups(self.second(x))
        return self.out(torch.where(x > 0, x, self.slope * x).flatten(2).sum(-1))


class Odd(nn.Module):
    """A weight turned, scaled, cut, and contracted by name; a bias by hand; a table by index; samples and tokens in one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.turned = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(6, 4))
        self.heads, self.bias = nn.Parameter(torch.randn(2, 3, 3)), nn.Parameter(torch.randn(4))
        self.scale, self.start = nn.Parameter(torch.randn(())), nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        count, tokens = x.shape
        y = torch.cat([self.start.expand(count, -1, -1), self.table[x]], 1)
        y = torch.addmm(self.bias, y.flatten(0, 1), self.table[:4].T.exp()).unflatten(0, (count, tokens + 1))
        y = torch.tanh(y) @ (0.5 * self.turned.mT) / self.scale
        y = torch.einsum("hij,bthj->bthi", self.heads, y.unflatten(-1, (2, 3))).flatten(2)
        return (self.turned.T @ y.mT).mT.sum(1)


@pytest.mark.parametrize("make", [Images, Odd, lambda: nn.Sequential(nn.RMSNorm(4), nn.PReLU(), nn.Linear(4, 2))])
def test_functions_with_a_rule(make: Any) -> None:
    model = make().eval()
    if make is Images:
        x = torch.randn(4, 2, 9, 9)
        model(x)
    else:
        x = torch.randint(0, 5, (4, 3)) if make is Odd else torch.randn(5, 4)
    found = tangent_kernel(model, x, output="full")
    close(found.values, by_autograd(model, x), 1e-11)
    alone = {name for name, route in found.routes.items() if route != "structured"}
    assert alone <= {"1.weight"}


class Experts(nn.Module):
    """Stacks of matrices: all samples through each by baddbmm and bmm, and one matrix for each sample by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shift = nn.Parameter(torch.randn(3, 4, 5)), nn.Parameter(torch.randn(3, 1, 5))
        self.second, self.last = nn.Parameter(torch.randn(3, 2, 5)), nn.Parameter(torch.randn(5, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape
        flat = x.flatten(0, 1).expand(3, -1, -1)
        y = torch.tanh(torch.baddbmm(self.shift, flat, self.first, beta=0.5, alpha=2))  # [3, N T, 5]
        y = torch.bmm(self.second, y.mT).sum(0).T.unflatten(0, (count, tokens)).sum(1)
        weights = self.last.mean(0).expand(count, -1, -1)
        return y + torch.baddbmm(y[..., None], weights, x.sum(1)[..., None], beta=0)[..., 0]


class Attending(nn.Module):
    """torch's multi-head attention: of tokens with themselves under two masks, of tokens with others, of other widths."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(8, 2, bias=bias, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 4, bias=bias, batch_first=True)
        self.wide = nn.MultiheadAttention(8, 2, bias=bias, kdim=5, vdim=3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.inward = nn.Linear(3, 8)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        y, later = self.inward(x), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = y + self.own(y, y, y, key_padding_mask=hidden, attn_mask=later)[0]
        mixed, weights = self.cross(y[:, 1:], y, y.sin(), average_attn_weights=False, key_padding_mask=hidden)
        y = mixed + weights.flatten(1).sum(1)[:, None, None]
        z = self.wide(y.transpose(0, 1), x[..., [0, 1, 2, 0, 1]].transpose(0, 1), x.cos().transpose(0, 1), need_weights=False)[0]
        return self.layer(y + z.transpose(0, 1))[:, -1, :3]


@pytest.mark.parametrize("bias", [True, False])
def test_torchs_own_attention(bias: bool) -> None:
    """Every parameter sample by sample in one pass; a mask that is dropped would give another kernel."""
    model, x = Attending(bias).eval(), torch.randn(4, 5, 3)
    hidden = torch.zeros(4, 5, dtype=torch.bool)
    hidden[1, 3:] = True
    found = tangent_kernel(model, Samples(x, hidden), output="full")
    assert set(found.routes.values()) == {"structured"}
    rows = []
    double = model.double()
    for i in range(4):
        outputs = double(x[i : i + 1].double(), hidden[i : i + 1])[0]
        for value in outputs:
            gradients = torch.autograd.grad(value, list(double.parameters()), retain_graph=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    exact = torch.stack(rows).unflatten(0, (4, 3))
    close(found.values, torch.tensordot(exact, exact, ([2], [2])), 1e-11)
    with_all = empirical_ntk(model, Samples(x, torch.zeros_like(hidden)), output="full")
    assert (with_all - found.values).norm() > 1e-3 * found.values.norm()


def test_stacks_of_matrices() -> None:
    model, x = Experts(), torch.randn(4, 6, 4)
    found = tangent_kernel(model, x, output="full")
    assert set(found.routes.values()) == {"structured"}
    close(found.values, by_autograd(model, x), 1e-11)


class Passes(nn.Module):
    """Counts how many tokens' gradients come through the products of what follows the sum over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.outward(torch.tanh(self.inward(x)).cumsum(1))))


def test_positions_without_a_gradient_are_not_multiplied() -> None:
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


class Doubled(torch.autograd.Function):
    """A kernel of one's own, without rules for vmap and forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain)
        return 2 * x * gain

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, gain = ctx.saved_tensors
        return 2 * gradient * gain, (2 * gradient * x).sum((0, 1))


class WithKernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward, self.gain, self.out = nn.Linear(3, 4), nn.Parameter(torch.randn(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(Doubled.apply(self.inward(x), self.gain)))


def test_a_model_with_a_kernel_of_its_own() -> None:
    model, x = WithKernel(), torch.randn(4, 5, 3)
    found = tangent_kernel(model, x, output="full")
    assert found.routes["gain"] == "alone"
    assert found.routes["inward.weight"] == "structured"
    close(tangent_kernel(model, x, output="full", method="ghost").values, found.values)
    close(found.values, by_autograd(model, x))
    with pytest.raises(ValueError, match='method="structured" can'):
        empirical_ntk(model, x, method="jacobian")


@pytest.mark.parametrize("scaling", ["ntk", "mup"])
def test_parametrised_weights_are_differentiated_in_what_is_trained(scaling: str) -> None:
    mixer = DeltaNet(heads=2)
    config = ModelConfig(vocabulary=5, width=16, layers=1, mixer=mixer, parametrisation=scaling, base_width=8)
    model, x = Model(config).eval(), torch.randint(0, 5, (3, 6))
    found = tangent_kernel(model, x, output="full")
    assert set(found.routes.values()) == {"structured"}
    close(found.values, empirical_ntk(model, x, output="full", method="jacobian"), 1e-11)


# --- projections, and memory --------------------------------------------------------------------------------------------------


def test_projections_are_off_by_what_they_say() -> None:
    """Over draws of the projection the mean is the kernel, and the spread is at most the standard error."""
    model, x = network(), torch.randn(5, 4)
    exact = empirical_ntk(model, x)
    draws = [tangent_kernel(model, x, method="projected", features=64, seed=seed) for seed in range(200)]
    values = torch.stack([draw.values for draw in draws])
    said = torch.stack([draw.standard_error for draw in draws if draw.standard_error is not None]).square().mean(0).sqrt()
    spread = values.std(0)
    assert ((values.mean(0) - exact).abs() < 5 * spread / len(draws) ** 0.5).all()
    assert (spread < 1.25 * said).all()
    assert (spread > 0.5 * said).float().mean() > 0.5
    exact, errors, said = empirical_ntk(model, x, output="full"), [], []
    for seed in range(100):
        draw = tangent_kernel(model, x, output="full", method="projected", features=64, seed=seed)
        assert draw.standard_error is not None
        errors.append((draw.values - exact).square())
        said.append(draw.standard_error.square())
    ratio = (torch.stack(errors).mean() / torch.stack(said).mean()).sqrt()
    assert 0.5 < ratio < 1.1


def test_memory_is_foreseen_and_what_does_not_fit_is_refused() -> None:
    model, x = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval(), torch.randint(0, 5, (40, 12))
    found = tangent_kernel(model, x)
    assert found.plan.kernel == 8 * 40 * 40
    assert "40 x 40 samples of 5 outputs" in found.summary()
    assert tangent_kernel(model, x[:10]).plan.passes == found.plan.passes // 4
    taken = peak_mib(lambda: tangent_kernel(model, x)) * 2**20
    assert 0.8 * found.plan.passes < taken < found.plan.bytes
    enough = found.plan.bytes - found.plan.passes // 2
    with pytest.raises(NotEnoughMemoryError, match=r"foreseen are .*tile=\d+ samples in a pass would fit") as refusal:
        tangent_kernel(model, x, memory=enough)
    tile = int(str(refusal.value).split("tile=")[1].split()[0])
    close(tangent_kernel(model, x, memory=enough, tile=tile).values, found.values)
    with pytest.raises(NotEnoughMemoryError, match="tiles on disk"):
        tangent_kernel(model, x, memory=1000)


def test_names_and_numbers_that_are_none() -> None:
    with pytest.raises(TypeError, match="output='full'"):
        empirical_ntk(network(), torch.randn(3, 4), "full")  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="3 outputs"):
        empirical_ntk(network(), torch.randn(3, 4), output=3)
    with pytest.raises(UnknownNameError, match="method 'structure' is not known; did you mean 'structured'"):
        empirical_ntk(network(), torch.randn(3, 4), method="structure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="real numbers"):
        empirical_ntk(network(), torch.randn(3, 4), read=lambda y: y + 1j)


def test_a_weight_that_is_named_in_the_call_has_the_same_kernel() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.out = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.mul(input=x, other=self.gain))

    model, x = Named(), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found, whole = (empirical_ntk(model, x, method=method) for method in ("structured", "jacobian"))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-10)
