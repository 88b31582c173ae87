"""The engines of the tangent kernel against each other: cross kernels, tiles, parts, ragged batches, projections, memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from exact_kernels import DOUBLE, close
from memory import peak_mib
from torch import Tensor, nn

from statescope import DeltaNet, Mamba, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk import passes, plan
from statescope.analyses.ntk.empirical_ntk import by_layer, tangent_kernel
from statescope.analyses.ntk.factors import LARGEST_TILE
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.ntk.samples import Samples
from statescope.probe.errors import NotEnoughMemoryError, UnknownNameError


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


@pytest.mark.parametrize("output", ["trace", "full", 1])
@pytest.mark.parametrize("samples", [1, 2, 3, 7])
def test_passes_of_few_samples_make_the_same_kernel(output: Any, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a shared weight, one in a function without a rule, one that is not used, and what is computed from few tokens."""
    cases: list[tuple[nn.Module, Tensor]] = [(make(), x[:samples]) for make, x in CASES.values()]
    words = nn.Sequential(nn.Embedding(3, 8), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 2))
    cases.append((words, torch.randint(0, 3, (samples, 12))))
    for model, x in cases:
        whole = tangent_kernel(model, x, output=output)
        with monkeypatch.context() as patch:
            patch.setattr(plan, "CACHED", 1)
            split = tangent_kernel(model, x, output=output)
            close(split.values, whole.values)
            assert split.routes == whole.routes
            cross = empirical_ntk(model, x, x[:2], output)
            close(cross, whole.values[:, :2] if output != "full" else whole.values[:, :, :2])


class Branching(nn.Module):
    """A weight that two samples meet in a way without a rule, in one with a rule, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0] > 1:
            return self.out(torch.hypot(x, self.weight.expand_as(x)))
        return self.out(x * self.weight if x[0, 0] > 0 else x)


ALONE, RULE, UNUSED = 2.0, 0.5, -1.0


@pytest.mark.parametrize("by_tiles", [False, True])
@pytest.mark.parametrize(
    ("firsts", "route"),
    [
        ((ALONE, RULE, UNUSED), "alone"),
        ((RULE, UNUSED, ALONE), "alone"),
        ((RULE, UNUSED), "structured"),
        ((UNUSED, RULE), "structured"),
        ((UNUSED, UNUSED), "unused"),
    ],
)
def test_the_costlier_route_is_told_where_samples_differ(
    firsts: tuple[float, ...], route: str, by_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whichever order; the kernel is that of each sample's own gradients."""
    model, x = Branching().double(), torch.randn(2 * len(firsts), 4, dtype=torch.float64)
    x[:, 0] = torch.tensor(firsts).repeat_interleave(2)
    if not by_tiles:
        monkeypatch.setattr(plan, "CACHED", 1)
    found = tangent_kernel(model, x, tile=2 if by_tiles else None)
    assert found.routes["weight"] == route
    exact = torch.zeros(len(x), len(x), dtype=torch.float64)
    for output in range(2):
        each = [torch.autograd.grad(model(own[None])[0, output], list(model.parameters()), allow_unused=True) for own in x]
        rows = [[torch.zeros(4) if part is None else part.flatten() for part in own] for own in each]
        jacobian = torch.stack([torch.cat(own) for own in rows])
        exact += jacobian @ jacobian.T
    close(found.values, exact)


def test_inputs_of_all_passes_have_coordinates_in_one_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coordinates in a basis of each pass, which has three tokens of its own, have the right products inside of it alone."""
    model = nn.Sequential(nn.Embedding(9, 20), nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 2))
    x, read = torch.randint(0, 3, (6, 12)) + torch.tensor([0, 0, 3, 3, 6, 6])[:, None], lambda rows: rows.cumsum(1)[:, -1]
    exact = empirical_ntk(model, x, read=read, method="jacobian")
    monkeypatch.setattr(plan, "CACHED", 1)
    close(empirical_ntk(model, x, read=read), exact)
    together = passes.in_coordinates
    monkeypatch.setattr(passes, "in_coordinates", lambda found: [together([own])[0] for own in found])
    apart = empirical_ntk(model, x, read=read)
    close(apart[:2, :2], exact[:2, :2])
    assert (apart - exact).norm() > 1e-3 * exact.norm()


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


class Named(nn.Module):
    """Tokens to an output with logits beside other things, as transformers has it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval()

    def forward(self, tokens: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.model(tokens), loss=None)


def test_logits_of_an_output_that_names_them_are_read() -> None:
    named, x = Named(), torch.randint(0, 5, (3, 7), generator=torch.Generator().manual_seed(0))
    close(empirical_ntk(named, x), empirical_ntk(named.model, x))
    positions = torch.tensor([6, 1, 3])
    close(empirical_ntk(named, Samples(x, positions=positions)), empirical_ntk(named.model, Samples(x, positions=positions)))


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)[:, 0]


def test_outputs_and_positions_that_are_none_say_what_to_do() -> None:
    """A position of -1, of a sequence without tokens, would be read from the end of its padding."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"read=lambda output: output\[:, None\]"):
        empirical_ntk(Flat(), x)
    close(empirical_ntk(Flat(), x, read=lambda output: output[:, None]), x.double() @ x.double().T + 1)
    with pytest.raises(ValueError, match="the model gives a tuple"):
        empirical_ntk(nn.GRU(3, 2, batch_first=True), x[:, None])
    model, tokens = Named().model, torch.randint(0, 5, (2, 4))
    for wrong in (torch.tensor([-1, 3]), torch.tensor([0.0, 1.0]), torch.ones(2, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="whole numbers from 0"):
            Samples(tokens, positions=wrong)
    for method in ("structured", "jacobian"):
        with pytest.raises(ValueError, match=r"more tokens than the last position, got \(., 4, 5\)"):
            empirical_ntk(model, Samples(tokens, positions=torch.tensor([1, 4])), method=method)
    with pytest.raises(ValueError, match=r"more tokens than the last position, got \(., 1\)"):
        empirical_ntk(nn.Linear(3, 1), Samples(x, positions=torch.zeros(4, dtype=torch.long)))
    with pytest.raises(TypeError, match="pad sequences of different lengths"):
        empirical_ntk(model, [[1, 2], [3]])  # type: ignore[arg-type]


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
    with pytest.raises(NotEnoughMemoryError, match=r"foreseen are .*tile=\d+ samples at once would fit") as refusal:
        tangent_kernel(model, x, memory=enough)
    tile = int(str(refusal.value).split("tile=")[1].split()[0])
    close(tangent_kernel(model, x, memory=enough, tile=tile).values, found.values)
    with pytest.raises(NotEnoughMemoryError, match="store it on disk with `store_tangent_kernel`, in tiles that fit"):
        tangent_kernel(model, x, memory=1000)


@pytest.mark.parametrize(("width", "hidden", "tokens"), [(300, 400, 1), (2, 3, 50)])
def test_rows_are_foreseen_by_the_largest_parameter_and_not_by_what_a_pass_makes(width: int, hidden: int, tokens: int) -> None:
    model = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 2))
    x, largest = torch.randn(5, tokens, width), max(width, 2) * hidden
    assert tangent_kernel(model, x).plan.rows == 8 * (5 * largest + 2 * LARGEST_TILE)
    assert tangent_kernel(model, x, output="full").plan.rows == 8 * (5 * largest * 2 + 2 * LARGEST_TILE)


def test_gradients_at_uses_are_foreseen_for_each_gathered_output_and_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """All outputs with all hold those of each; a check of routes holds two more of the samples in a pass."""
    model, x = network(), torch.randn(10, 4)
    trace, full = (tangent_kernel(model, x, output=output).plan for output in ("trace", "full"))
    at_uses = (full.passes - trace.passes) // (10 * 2)
    assert trace.in_a_pass == 10 and at_uses >= 8 * (9 + 9 + 3), "the outputs of three matrices"
    monkeypatch.setattr(plan, "CACHED", 1)
    split = tangent_kernel(model, x).plan
    assert split.in_a_pass == 2 and trace.passes - split.passes == 2 * (10 - 2) * at_uses


def test_names_and_numbers_that_are_none() -> None:
    with pytest.raises(TypeError, match="output='full'"):
        empirical_ntk(network(), torch.randn(3, 4), "full")  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="3 outputs"):
        empirical_ntk(network(), torch.randn(3, 4), output=3)
    with pytest.raises(UnknownNameError, match="method 'structure' is not known; did you mean 'structured'"):
        empirical_ntk(network(), torch.randn(3, 4), method="structure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="real numbers"):
        empirical_ntk(network(), torch.randn(3, 4), read=lambda y: y + 1j)
