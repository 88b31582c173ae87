"""The tangent kernel against torch.func's Jacobians: every mixer, shapes that mislead rules, and what must be refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from statescope import Attention, DeltaNet, GatedDeltaNet, Model, ModelConfig, empirical_ntk, load
from statescope.analyses.ntk.empirical_ntk import tangent_kernel
from statescope.analyses.ntk.measures import kernel_target_alignment, label_gradient_alignment
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.ntk.samples import Samples
from statescope.analyses.ntk.spectrum import tangent_spectrum
from statescope.analyses.ntk.state import state_tangent
from statescope.analyses.operators.nystrom import NotPositiveError
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.errors import UnknownNameError


def by_torch_func(model: nn.Module, x: Tensor, read: Any) -> Tensor:
    """[N, O, N, O] from whole Jacobians in the parameters that are trained."""
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    jacobian = jacrev(lambda p: read(functional_call(model, p, (x,))))(parameters)
    flat = torch.cat([part.flatten(2) for part in jacobian.values()], dim=-1)
    return torch.einsum("iop,jqp->iojq", flat, flat)


def last(logits: Tensor) -> Tensor:
    return logits[:, -1]


HYBRID = (GatedDeltaNet(heads=2), Attention(heads=2))


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


@pytest.mark.parametrize("mixer", [*MIXERS, HYBRID], ids=[*map(label, MIXERS), "hybrid"])
def test_it_is_the_gram_matrix_of_the_jacobian(mixer: Any) -> None:
    model = small(mixer, layers=2 if mixer is HYBRID else 1)
    x = torch.randint(0, 5, (3, 7))
    exact = by_torch_func(model, x, last)
    full, trace = empirical_ntk(model, x, output="full"), empirical_ntk(model, x, output="trace")
    torch.testing.assert_close(full, exact, rtol=1e-10, atol=1e-10 * float(exact.abs().max()))
    torch.testing.assert_close(trace, torch.einsum("iojo->ij", exact), rtol=1e-10, atol=1e-10 * float(exact.abs().max()))


def test_all_positions_as_outputs() -> None:
    model = Model(ModelConfig(vocabulary=3, width=4, layers=1, mixer=DeltaNet(heads=1))).double().eval()
    x = torch.randint(0, 3, (3, 5))
    read = lambda logits: logits.flatten(1)  # noqa: E731
    torch.testing.assert_close(empirical_ntk(model, x, output="full", read=read), by_torch_func(model, x, read))


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


def test_a_shared_weight_has_the_sum_of_its_uses() -> None:
    model, x = Shared().double(), torch.randn(5, 3, 4, dtype=torch.float64)
    read = lambda y: y.sum(1)  # noqa: E731
    exact = by_torch_func(model, x, read)
    torch.testing.assert_close(empirical_ntk(model, x, output="full", read=read), exact)
    # The wrong variant adds the kernels of the two uses, and so loses their cross terms.
    inner, outer = _use(model, x, 0), _use(model, x, 1)
    whole = inner + outer
    wrong = torch.einsum("iop,jqp->iojq", inner, inner) + torch.einsum("iop,jqp->iojq", outer, outer)
    torch.testing.assert_close(torch.einsum("iop,jqp->iojq", whole, whole), exact)
    assert (wrong - exact).norm() > 1e-2 * exact.norm()


def _use(model: Shared, x: Tensor, use: int) -> Tensor:
    """The Jacobian through one use of the layer alone, [N, O, P]."""

    def f(weight: Tensor, bias: Tensor) -> Tensor:
        first = (weight, bias) if use == 0 else (model.layer.weight.detach(), model.layer.bias.detach())
        second = (weight, bias) if use == 1 else (model.layer.weight.detach(), model.layer.bias.detach())
        return nn.functional.linear(torch.tanh(nn.functional.linear(x, *first)), *second).sum(1)

    parts = jacrev(f, argnums=(0, 1))(model.layer.weight.detach(), model.layer.bias.detach())
    return torch.cat([part.flatten(2) for part in parts], dim=-1)


def test_the_ghost_rule_of_a_linear_layer_keeps_cross_positions() -> None:
    """(a.a')(g.g') summed over equal positions only, as some libraries do, is not the kernel."""
    layer, x = nn.Linear(3, 2, bias=False).double(), torch.randn(4, 5, 3, dtype=torch.float64)
    read = lambda y: (y * torch.arange(1, 6, dtype=torch.float64)[:, None]).sum((1, 2), keepdim=True)[:, 0]  # noqa: E731
    exact = by_torch_func(layer, x, read)[:, 0, :, 0]
    torch.testing.assert_close(empirical_ntk(layer, x, read=read), exact)
    gradient = torch.arange(1, 6, dtype=torch.float64)[:, None].expand(5, 2)
    diagonal_only = torch.einsum("ita,jta,to,to->ij", x, x, gradient, gradient)
    assert (diagonal_only - exact).norm() > 0.1 * exact.norm()


class Positions(nn.Module):
    """Positions are looked up as [1, T]: the first axis is no sample's."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places, self.out = nn.Embedding(5, 6), nn.Embedding(20, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.tokens(x) + self.places(torch.arange(x.shape[1])[None])))


class PlacesInARow(Positions):
    """Positions are looked up as [T], which is as long as the batch where T = N."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.tokens(x) + self.places(torch.arange(x.shape[1]))))


class Tied(nn.Module):
    """The second use of a weight shows in the second output alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.a(x)[..., 0], self.b(torch.tanh(self.a(x)))[..., 1]], -1)


class TiedOutside(nn.Module):
    """A weight is used outside its module too, and in the second output alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return torch.stack([y[..., 0], (torch.tanh(y) @ self.layer.weight)[..., 1]], -1)


class TimeFirst(nn.Module):
    """Inside it tokens come first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x.transpose(0, 1))).cumsum(0)).transpose(0, 1)


class Gained(nn.Module):
    """A parameter of no layer, one that meets the data in a function without a rule, modules called by keyword, one of them twice
    and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)
        self.gain, self.angle = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=torch.atan2(torch.tanh(self.layer(input=x)), self.angle)) * self.gain


class Padded(nn.Module):
    """An embedding whose padding has no gradient, and the module's own in-place change of what left a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.embed(x)).mul_(2).tanh()


class OneByOne(nn.Module):
    """Samples run one after another, so that a use has no axis of samples, but for a gain behind all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gain = nn.Linear(3, 2), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.layer(row).tanh() for row in x.unbind()]) * self.gain


TOKENS, SEQUENCES, VECTORS = (4, 7), (4, 4, 3), (4, 3)
ODD = [
    (Positions, TOKENS, {"places.weight": "structured", "tokens.weight": "structured"}),
    (PlacesInARow, (4, 4), {"places.weight": "structured"}),
    (Tied, SEQUENCES, {"a.weight": "structured"}),
    (TiedOutside, SEQUENCES, {"layer.weight": "structured"}),
    (TimeFirst, SEQUENCES, {"a.weight": "alone", "b.bias": "alone"}),
    (Gained, SEQUENCES, {"gain": "structured", "angle": "alone", "layer.weight": "structured", "idle.weight": "unused"}),
    (Padded, TOKENS, {"embed.weight": "structured"}),
    (OneByOne, VECTORS, {"layer.weight": "alone", "layer.bias": "alone", "gain": "structured"}),
    (lambda: nn.Linear(3, 2), VECTORS, {"weight": "structured", "bias": "structured"}),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2)), VECTORS, {"2.weight": "structured"}),
]


@pytest.mark.parametrize(("make", "shape", "routes"), ODD, ids=range(len(ODD)))
def test_a_module_whose_first_axis_or_weights_mislead_the_rules(make: Any, shape: Any, routes: dict[str, str]) -> None:
    model = make().double()
    x = torch.randn(shape, dtype=torch.float64)
    if len(shape) == 2 and shape != VECTORS:
        x = torch.randint(0, 5, shape)
        x[0, -1] = 0  # padding, where it is one
    read = lambda y: y if y.ndim == 2 else y[:, -1]  # noqa: E731
    found = tangent_kernel(model, x, output="full")
    exact = by_torch_func(model, x, read)
    torch.testing.assert_close(found.values, exact, rtol=1e-10, atol=1e-12)
    assert routes.items() <= found.routes.items()
    assert set(found.routes) == {name for name, _ in model.named_parameters()}


class Modulus(nn.Module):
    """|x W|^2 of complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).abs().square()


@pytest.mark.parametrize("samples", [1, 4])
def test_complex_samples_are_taken_to_double_precision(samples: int) -> None:
    """|x . w|^2 has the gradient 2 (x . w) conj(x), as real numbers in pairs."""
    model, x = Modulus(), torch.randn(samples, 3, dtype=torch.complex64)
    exact_x, exact_weight = x.to(torch.complex128), model.weight.detach().to(torch.complex128)
    rows = 2 * exact_x.conj()[:, :, None] * (exact_x @ exact_weight)[:, None]
    of_each = (rows[:, None].conj() * rows).sum(2).real  # an output depends on a column of its own
    exact = torch.diag_embed(of_each, dim1=1, dim2=3)
    torch.testing.assert_close(empirical_ntk(model, x, output="full"), exact, rtol=1e-12, atol=1e-12)


def test_parameters_without_gradient_are_not_counted() -> None:
    whole, frozen = small(DeltaNet(heads=2)), small(DeltaNet(heads=2))
    x = torch.randint(0, 5, (3, 6))
    for parameter in (frozen.embed.weight, frozen.unembed.weight):
        parameter.requires_grad_(False)
    found = tangent_kernel(frozen, x, output="full")
    torch.testing.assert_close(found.values, by_torch_func(frozen, x, last), rtol=1e-10, atol=1e-12)
    assert not {"embed.weight", "unembed.weight"} & set(found.routes)
    assert f"{len(found.routes)} parameters counted" in found.summary()
    assert (found.values - empirical_ntk(whole, x, output="full")).norm() > 0.1 * found.values.norm()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model has requires_grad"):
        empirical_ntk(frozen, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_rounded_parameters_is_exact_for_them(dtype: torch.dtype) -> None:
    """Sums that cancel in float32 refuse nothing: it is computed in float64, also without gradients around it."""
    rounded = Model(ModelConfig(vocabulary=5, width=12, layers=1, mixer=GatedDeltaNet(heads=2))).to(dtype).eval()
    x = torch.randint(0, 5, (3, 6))
    before = {name: value.clone() for name, value in rounded.state_dict().items()}
    with torch.no_grad():
        found = empirical_ntk(rounded, x)
    with torch.inference_mode():
        torch.testing.assert_close(empirical_ntk(rounded, x), found)
    assert all(torch.equal(value, before[name]) and value.dtype == dtype for name, value in rounded.state_dict().items())
    exact = by_torch_func(rounded.double(), x, last)
    torch.testing.assert_close(found, torch.einsum("iojo->ij", exact), rtol=1e-10, atol=1e-12)


def test_gradients_that_cancel_over_samples_are_no_failure() -> None:
    """Two samples x and -x: the whole gradient of the weight is 0 beside the rows, in any dtype."""
    x = torch.randn(1, 3).repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    found = tangent_kernel(nn.Linear(3, 2, bias=False), x)
    assert set(found.routes.values()) == {"structured"}
    torch.testing.assert_close(found.values, 2 * (x.double() @ x.double().T))


OF_EACH_ADAPTER = ("qwen3_next", "kimi_linear", "mamba", "mamba2", "recurrent_gemma", "minimax", "rwkv", "xlstm")


@pytest.mark.parametrize("name", OF_EACH_ADAPTER)
def test_a_loaded_model(name: str) -> None:
    """Against the gradient of each output of each sample, from a pass of its own; most parameters in one pass for all."""
    loaded: Any = load(FOREIGN[name]())
    if name in ("kimi_linear", "minimax"):  # whose mixtures of experts run by a product without float64
        loaded.foreign.set_experts_implementation("eager")
    model = loaded.double()
    x = torch.randint(0, 31, (2, 4))
    read = lambda logits: logits[:, -1, :2]  # noqa: E731
    found = tangent_kernel(model, x, output="full", read=read)
    rows = torch.stack([torch.cat([side.flatten() for side in row]) for row in _one_by_one(model, x, read)]).double()
    exact = rows @ rows.T
    assert (found.values.flatten(2).flatten(0, 1) - exact).norm() <= 1e-10 * exact.norm()
    assert sum(route == "alone" for route in found.routes.values()) <= 6


def _one_by_one(model: nn.Module, x: Tensor, read: Any) -> list[tuple[Tensor, ...]]:
    """The gradient of each output of each sample, from a pass of its own."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    values = [value for sample in x for value in read(model(sample[None]))[0]]
    return [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True) for value in values
    ]


class Centred(nn.Module):
    """Each sample minus the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0))


def test_samples_that_are_coupled_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        empirical_ntk(model, torch.randn(2, 1, 3))
    with pytest.raises(ValueError, match="other outputs than in the batch"):
        empirical_ntk(Centred(), torch.randn(3, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'trace'"):
        empirical_ntk(nn.Linear(3, 3), torch.randn(2, 1, 3), output="tracee")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"read must give the outputs of each sample, \[1, outputs\] for 1; it gave \(1, 1, 3\)"):
        empirical_ntk(nn.Linear(3, 3), torch.randn(2, 1, 3), read=lambda y: y)


class WithoutSlope(nn.Module):
    """Finite outputs whose gradient is not, the root of a square that is zero; or a logarithm of what is negative."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(3, 2), act, nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class RootOfZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (0 * x).square().sqrt()


class LogOfNegative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (-x.square() - 1).log()


class Spoken(nn.Module):
    """A linear layer, and what a function makes of its outputs."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        self.layer, self.then = nn.Linear(3, 2), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.layer(x))


@pytest.mark.parametrize("method", ["structured", "jacobian"])
def test_outputs_without_a_gradient_are_refused_and_those_that_never_move_have_a_kernel_of_zeros(method: Any) -> None:
    """Batch normalisation in training couples samples; in evaluation it does not."""
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="got torch.int64; whole numbers have no gradient"):
        empirical_ntk(Spoken(lambda z: z.argmax(-1, keepdim=True)), x, method=method)
    with pytest.raises(ValueError, match="depend on no parameter .* detaches them"):
        empirical_ntk(Spoken(lambda z: z.detach()), x, method=method)
    with pytest.raises(ValueError, match="got torch.complex128; read their parts"):
        empirical_ntk(Spoken(lambda z: z * 1j), x, method=method)
    assert not empirical_ntk(Spoken(torch.round), x, method=method).any()
    normed = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) is in training mode, which couples samples"):
        empirical_ntk(normed, x, method=method)
    assert bool(empirical_ntk(normed.eval(), x, method=method).any())


def test_targets_of_one_class_align_with_nothing() -> None:
    one = torch.zeros(4, dtype=torch.long)
    assert math.isnan(kernel_target_alignment(torch.eye(4), one)) and math.isnan(label_gradient_alignment(torch.eye(4), one))
    table = tangent_spectrum({("m", "now"): torch.eye(4)}, one).table
    assert table[["target_share", "alignment"]].isna().all(axis=None) and table["eigenvalue"].eq(1).all()


def with_nan(model: nn.Module, name: str) -> nn.Module:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[1] = float("nan")
    return model


FINITE = torch.ones(3, 3)
INPUT_NAN = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, float("nan")]])
TOKENS = torch.zeros(2, 4, dtype=torch.long)
NOT_FINITE = [
    (lambda: with_nan(small(DeltaNet(heads=2)), "unembed.weight"), TOKENS, r"unembed.weight is nan at index \(0, 1\)"),
    (lambda: with_nan(small(DeltaNet(heads=2)), "embed.weight"), TOKENS, r"embed.weight is nan at index \(0, 1\)"),
    (lambda: nn.Linear(3, 2), INPUT_NAN, r"sample 1 are not finite: input 0 is nan at index \(1, 2\)"),
    (lambda: WithoutSlope(LogOfNegative()), FINITE, r"sample 0 are not finite: the output of act \(LogOfNegative\) is the first"),
    (lambda: WithoutSlope(RootOfZero()), FINITE, "gradient in first.weight is not"),
]


@pytest.mark.parametrize("method", ["structured", "jacobian", "ghost", "projected", "operator", "state"])
def test_what_is_not_finite_is_named_with_its_place(method: Any) -> None:
    """Whichever engine meets it, whether in a weight, an input, a module's output or a gradient."""
    for make, x, match in NOT_FINITE if method != "state" else NOT_FINITE[1:2]:
        with pytest.raises(NonFiniteError, match=match):
            if method == "operator":
                TangentKernelOperator(make(), x)
            elif method == "state":
                state_tangent(make(), x, [1, 3])
            else:
                empirical_ntk(make(), x, method=method)


def test_a_mask_of_minus_infinity_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(3, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (self.scores(x) + mask).softmax(-1)

    mask = torch.tensor([0.0, 0.0, float("-inf"), 0.0]).repeat(3, 1)
    model = Masked()
    assert bool(empirical_ntk(model, Samples(torch.randn(3, 3), mask)).isfinite().all())
    with pytest.raises(NonFiniteError, match="`read` made them so"):
        empirical_ntk(model, Samples(torch.randn(3, 3), mask), read=torch.log)


def test_no_hook_is_left_behind() -> None:
    model = nn.Linear(3, 2)
    empirical_ntk(model, torch.randn(2, 1, 3), read=lambda y: y[:, -1])
    assert not model._forward_hooks


def test_targets_that_are_an_eigenvector_lie_in_the_first_direction() -> None:
    """Two balanced classes: their centred one-hot matrix has one direction y. With K = I + 9 y y^T it comes first."""
    targets = torch.tensor([0, 1] * 10)
    y = torch.nn.functional.normalize(2.0 * targets.double() - 1, dim=0)
    kernel = torch.eye(20, dtype=torch.float64) + 9 * torch.outer(y, y)
    spectrum = tangent_spectrum({("m", "now"): kernel}, targets).table
    assert spectrum["eigenvalue"].iloc[0] == pytest.approx(10)
    assert spectrum["target_share"].iloc[0] == pytest.approx(1)
    assert spectrum["effective_rank"].iloc[0] == pytest.approx(29**2 / (100 + 19))
    # centred: I loses its mean direction, so K_c = (I - 11^T/20) + 9 yy^T; alignment with yy^T
    expected = 10 / (100 + 18) ** 0.5
    assert spectrum["alignment"].iloc[0] == pytest.approx(expected)
    shuffled = tangent_spectrum({("m", "now"): kernel}, targets[torch.randperm(20)]).table
    assert shuffled["alignment"].iloc[0] < 0.9 * expected


def test_a_kernel_that_is_not_positive_is_refused() -> None:
    kernel = torch.eye(4, dtype=torch.float64)
    kernel[0, 1] = kernel[1, 0] = 2.0
    with pytest.raises(NotPositiveError, match="eigenvalue -1"):
        tangent_spectrum({("m", "now"): kernel}, torch.tensor([0, 1, 0, 1]))
