"""Functions whose gradients of all samples come from one pass, and what is done where a model has others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exact_kernels import by_autograd, close
from torch import Tensor, nn

from statescope import DeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk.empirical_ntk import tangent_kernel
from statescope.analyses.ntk.samples import Samples


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


class Learning(nn.Module):
    """A fast matrix that takes one step of descent on each sample, by torch.func; and the slope of an energy, by autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.energy = nn.Parameter(torch.randn(4, 4) / 2), nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
        self.key, self.out = nn.Linear(4, 4, bias=False), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        def learnt(key: Tensor, value: Tensor) -> Tensor:
            return key @ (self.fast - 0.1 * torch.func.grad(lambda fast: (key @ fast - value).square().sum())(self.fast))

        at = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.energy(at).sum(), at, create_graph=True)
        return self.out(torch.func.vmap(learnt)(self.key(x), x) + slope)


@pytest.mark.parametrize("method", ["structured", "ghost"])
def test_models_that_differentiate_something_themselves(method: Any) -> None:
    model, x = Learning().double(), torch.randn(5, 4, dtype=torch.float64)
    close(empirical_ntk(model, x, output="full", method=method), by_autograd(model, x), 1e-12)


class Complex(nn.Module):
    """A complex table; complex matrices, turned with and without the signs of their imaginary parts; real ones times i."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.matrix = (nn.Parameter(torch.randn(n, 4, dtype=torch.complex128)) for n in (5, 4))
        self.real, self.out = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.table[x] + torch.view_as_complex(torch.view_as_real(self.table))[x] * self.matrix[0].conj()
        z = z @ self.matrix.mH / 3 + (self.matrix @ z.mT).mT + z @ self.matrix.mT
        y = torch.einsum("btd,de->bte", z, self.matrix.mH)
        z = y + z @ (self.real * (0.5 + 0.2j)) + z.real.to(z.dtype) @ (1j * self.real).mT
        return self.out((z.imag.tanh() + z.conj().imag.cos() * z.abs().tanh()).sum(1))


@pytest.mark.parametrize("method", ["structured", "ghost"])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_complex_parameters_in_every_way_of_use(samples: int, method: Any) -> None:
    model, x = Complex().double(), torch.randint(0, 5, (samples, 3))
    rows = []
    for own in x:
        each = [torch.autograd.grad(value, list(model.parameters()), retain_graph=True) for value in model(own[None])[0]]
        parts = [[torch.view_as_real(part) if part.is_complex() else part for part in found] for found in each]
        rows.append(torch.stack([torch.cat([part.flatten() for part in found]) for found in parts]))
    jacobian = torch.stack(rows)
    close(empirical_ntk(model, x, output="full", method=method), torch.tensordot(jacobian, jacobian, ([2], [2])), 1e-12)


class Narrow(nn.Module):
    """Layers of no width, and experts that no sample reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Parameter(torch.randn(4, 0)), nn.Parameter(torch.randn(0, 4))
        self.none, self.experts = nn.Parameter(torch.randn(0)), nn.ModuleList([nn.Linear(4, 2) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        x, which, out = torch.tanh(x) + x @ self.inward @ self.outward + self.none.sum(), (x[:, 0] > 0).long(), x[:, :2]
        for index, expert in enumerate(self.experts):
            reached = (which == index).nonzero()[:, 0]
            out = out.index_add(0, reached, expert(x[reached]))
        return out


@pytest.mark.parametrize("method", ["structured", "ghost"])
def test_layers_without_width_and_experts_without_samples(method: Any) -> None:
    model, x = Narrow().double(), torch.randn(5, 4, dtype=torch.float64)
    assert bool((x[:, 0] > 0).any()) and not bool((x[:, 0] > 0).all())
    close(empirical_ntk(model, x, output="full", method=method), by_autograd(model, x), 1e-12)


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


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("method", ["structured", "ghost"])
def test_a_convolution_over_the_tokens_of_the_last_axis_but_one(tokens: int, method: Any) -> None:
    """Turned to [N, C, T]: with one token its strides are those of another layout, which a torch kernel took it for."""

    class Along(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolve = nn.Conv1d(6, 4, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.convolve(x.mT)).mT[:, -1]

    model, x = Along(), torch.randn(5, tokens, 6)
    close(tangent_kernel(model, x, output="full", method=method).values, by_autograd(model, x), 1e-11)


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
