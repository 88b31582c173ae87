"""Kernels of infinite width: closed forms against quadrature, known values and networks of growing width."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from theorems import OCTAVES, tangent_kernel_errors
from torch import Tensor
from torch.func import functional_call, jacrev

from statescope.analyses.infinite_width import network as infinite_network
from statescope.analyses.infinite_width.attention import AttentionNetwork, ManyHeadedAttention
from statescope.analyses.infinite_width.convolutional import ConvolutionalNetwork
from statescope.analyses.infinite_width.dense import DenseNetwork, ResidualNetwork
from statescope.analyses.infinite_width.diagonal_recurrence import diagonal_recurrence_ntk
from statescope.analyses.infinite_width.effective_theory import (
    critical_weight_variance,
    deep_linear_kurtosis,
    kernel_by_depth,
    susceptibilities,
)
from statescope.analyses.infinite_width.hierarchical import HierarchicalNetwork
from statescope.analyses.infinite_width.network import InfiniteNetwork, infinite_width_kernels
from statescope.analyses.infinite_width.nonlinearities import (
    GELU,
    Erf,
    GoLU,
    Identity,
    Nonlinearity,
    Quadrature,
    ReLU,
    SiLU,
    Sine,
    Tanh,
)
from statescope.analyses.infinite_width.recurrent import RecurrentNetwork
from statescope.kernels.arguments import NonFiniteError

NONLINEARITIES = (Identity(), ReLU(), ReLU(0.2), ReLU(-1.0), Erf(), Sine(), GELU(), Tanh(), SiLU(), GoLU())
ids = [f"{f.kind}{getattr(f, 'slope', '')}" for f in NONLINEARITIES]


def double(*values: float) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def polar(f: Nonlinearity, c: float, a: float, b: float) -> float:
    """E[f(u) f(v)] in polar coordinates, where kinks lie on rays: trapezoid in radius, Gauss-Legendre between the rays."""
    angle = math.acos(c / math.sqrt(a * b))
    rays = sorted({t % (2 * math.pi) for t in (math.pi / 2, -math.pi / 2, angle + math.pi / 2, angle - math.pi / 2)})
    points, weights = np.polynomial.legendre.leggauss(60)
    radius = torch.linspace(0, 12, 6001, dtype=torch.float64)
    total = 0.0
    for low, high in zip(rays, [*rays[1:], rays[0] + 2 * math.pi], strict=True):
        theta = torch.as_tensor((points + 1) / 2 * (high - low) + low)
        weight = torch.as_tensor(weights * (high - low) / 2)
        u = math.sqrt(a) * radius[:, None] * theta.cos()
        v = math.sqrt(b) * radius[:, None] * (theta - angle).cos()
        inside = f(u) * f(v) * torch.exp(-(radius[:, None] ** 2) / 2) * radius[:, None] / (2 * math.pi)
        total += float((torch.trapezoid(inside, radius, dim=0) * weight).sum())
    return total


@pytest.mark.parametrize("f", NONLINEARITIES, ids=ids)
def test_covariance_is_the_gaussian_expectation(f: Nonlinearity) -> None:
    for c, a, b in ((0.4, 1.3, 0.9), (-0.7, 0.8, 1.1), (0.0, 2.0, 0.5)):
        assert float(f.covariance(*double(c, a, b))) == pytest.approx(polar(f, c, a, b), abs=3e-6)


@pytest.mark.parametrize("f", NONLINEARITIES, ids=ids)
def test_derivative_is_the_slope_in_the_covariance(f: Nonlinearity) -> None:
    """Price's theorem: d/dc E[f(u) f(v)] = E[f'(u) f'(v)]."""
    for c, a, b in ((0.4, 1.3, 0.9), (-0.7, 0.8, 1.1)):
        cov, one, two = double(c, a, b)
        cov.requires_grad_()
        (slope,) = torch.autograd.grad(f.covariance(cov, one, two), cov)
        assert float(f.derivative(cov, one, two).detach()) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("f", [Tanh(), SiLU(), GoLU()], ids=lambda f: f.kind)
@pytest.mark.parametrize("variance", [0.0, 0.1, 1.0, 3.0, 30.0])
def test_functions_without_closed_forms_keep_their_precision_at_every_variance(f: Quadrature, variance: float) -> None:
    """Beside adaptive quadrature along the diagonal, and beside a rule of twice the points off it."""

    def mean(function: Callable[[Tensor], Tensor]) -> float:
        """E[function(u)^2] for u of this variance."""

        def inside(z: float) -> float:
            value = float(function(torch.tensor(variance**0.5 * z, dtype=torch.float64)))
            return value**2 * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

        return float(quad(inside, -11, 11, epsabs=1e-13, epsrel=1e-13, limit=500)[0])

    a, c, b = double(variance, -0.3 * variance, 0.5 * variance + 0.1)
    assert float(f.variance(a)) == pytest.approx(mean(f), abs=1e-10)
    assert float(f.derivative(a, a, a)) == pytest.approx(mean(f.slope), abs=1e-10)
    finer = replace(f, spacing=f.spacing / 2)
    for name in ("covariance", "derivative"):
        assert float(getattr(f, name)(c, a, b)) == pytest.approx(float(getattr(finer, name)(c, a, b)), abs=1e-11)


@pytest.mark.parametrize("network", [DenseNetwork(4), DenseNetwork(9, ReLU(0.2)), DenseNetwork(3, bias_variance=0.4)], ids=repr)
@pytest.mark.parametrize("features", [1, 5, 200])
def test_an_input_is_at_no_angle_from_itself_its_copies_and_its_opposite(network: DenseNetwork, features: int) -> None:
    """An angle read off a rounded cosine is off by 1e-8, and the tangent kernel of a ReLU network by as much in each layer."""
    x = torch.randn(9, features, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    given = torch.cat([x, x.flip(0), 3 * x, -x])
    f, w, s = network.nonlinearity, network.weight_variance, network.bias_variance
    same = tangent = w * x.square().mean(1) + s
    for _ in range(network.depth):
        same = w * (1 + f.slope**2) / 2 * same + s
        tangent = same + w * (1 + f.slope**2) / 2 * tangent
    found = infinite_width_kernels(network, given).ntk
    assert torch.allclose(found.diagonal()[:9], tangent, rtol=1e-13, atol=0)
    assert torch.allclose(found[:9, 9:18].flip(1).diagonal(), tangent, rtol=1e-13, atol=0)
    if s == 0:
        assert torch.allclose(found[:9, 18:27].diagonal(), 3 * tangent, rtol=1e-13, atol=0)
        if f.slope == 0:
            assert float(infinite_width_kernels(replace(network, depth=1), given).ntk[:9, 27:].diagonal().abs().max()) < 1e-15


@pytest.mark.parametrize("variance", [1.0, 1e4, 1e8, 1e16])
def test_large_inputs_of_erf_and_gelu_lose_no_precision(variance: float) -> None:
    """Of u = v, beside the closed form at equal arguments for erf, and beside an integral that nothing cancels in for GELU."""
    a = torch.tensor(variance, dtype=torch.float64)
    assert float(Erf().derivative(a, a, a)) == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * variance), rel=1e-14)
    assert float(Erf().covariance(-a, a, a)) == -float(Erf().variance(a))
    # gelu'(-z) = 1 - gelu'(z), and so E[gelu'^2] = 1/2 - 2 E[gelu' (1 - gelu'); z > 0], of numbers near 0 alone.
    near = torch.linspace(0, 12, 240001, dtype=torch.float64)
    slope = torch.special.ndtr(near) + near * (-near.square() / 2).exp() / math.sqrt(2 * math.pi)
    density = (-near.square() / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)
    expected = 0.5 - 2 * float(torch.trapezoid(slope * (1 - slope) * density, near))
    assert float(GELU().derivative(a, a, a)) == pytest.approx(expected, abs=1e-9 / math.sqrt(variance))
    assert float(GELU().variance(a)) == pytest.approx(variance / 2, rel=2 / variance)


def test_known_values_of_erf() -> None:
    """They are those of a quadrature of Gauss and Hermite with 160 nodes too; without the covariance they are not."""
    points, weights = np.polynomial.hermite_e.hermegauss(160)
    at, weight = torch.as_tensor(points), torch.as_tensor(np.outer(weights, weights) / weights.sum() ** 2)
    factor = torch.linalg.cholesky(torch.tensor([[1.3, 0.4], [0.4, 0.9]], dtype=torch.float64))
    u, v = factor[0, 0] * at[:, None], factor[1, 0] * at[:, None] + factor[1, 1] * at
    slopes = 4 / math.pi * torch.exp(-u.square() - v.square())
    for found, known, inside in (
        (Erf().covariance, 0.1621610135323, torch.erf(u) * torch.erf(v)),
        (Erf().derivative, 0.4144041743670, slopes),
    ):
        assert float(found(*double(0.4, 1.3, 0.9))) == pytest.approx(known, abs=1e-13)
        assert float((weight * inside).sum()) == pytest.approx(known, abs=1e-13)
        assert float(found(*double(0.0, 1.3, 0.9))) != pytest.approx(known, abs=1e-3)


@pytest.mark.parametrize(
    ("angle", "depth", "nngp", "ntk"),
    [
        (math.pi / 3, 1, 0.608997781044, 0.942331114378),
        (math.pi / 3, 2, 0.683905650899, 1.351479561123),
        (math.pi / 3, 3, 0.738128192301, 1.737844679215),
        (math.pi / 2, 1, 0.318309886184, 0.318309886184),
        (math.pi / 2, 2, 0.493731090200, 0.685708636283),
        (math.pi / 2, 3, 0.604825720113, 1.060388106803),
        (2 * math.pi / 3, 1, 0.108997781044, -0.057668885622),
        (2 * math.pi / 3, 3, None, 0.742249322561),
        (0.0, 4, 1.0, 5.0),
    ],
)
def test_arc_cosine_kernels(angle: float, depth: int, nngp: float | None, ntk: float) -> None:
    """Unit inputs, weights of variance 2 but for the first layer's 1: cos -> k_1(cos), as Cho and Saul write it."""
    layer = torch.tensor([[math.cos(angle)]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    from statescope.analyses.infinite_width.network import Layer

    network, found = DenseNetwork(depth), Layer(layer, one, one, layer)
    for _ in range(depth):
        found = network.next(found)
    assert nngp is None or float(found.cross) == pytest.approx(nngp, abs=1e-12)
    assert float(found.tangent) == pytest.approx(ntk, abs=1e-12)


def test_the_recurrent_networks_known_case() -> None:
    x = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])[..., None]
    found = infinite_width_kernels(RecurrentNetwork(), x)
    torch.testing.assert_close(found.nngp, torch.tensor([[1.5, 0.9596], [0.9596, 1.5]]).double(), atol=5e-5, rtol=0)
    torch.testing.assert_close(found.ntk, torch.tensor([[4.5, 1.6900], [1.6900, 4.5]]).double(), atol=5e-5, rtol=0)


def empirical(network: InfiniteNetwork, x: Tensor, width: int, seed: int) -> Tensor:
    model = network.finite(tuple(x.shape[1:]), width, torch.Generator().manual_seed(seed))
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    jacobian = jacrev(lambda p: functional_call(model, p, (x,))[:, 0])(parameters)
    return sum((part.flatten(1) @ part.flatten(1).T for part in jacobian.values()), torch.zeros(len(x), len(x)).double())


SEQUENCES = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)).double()
FAMILIES = [
    (DenseNetwork(2, bias_variance=0.3), SEQUENCES[:, 0]),
    (DenseNetwork(2, Erf(), 1.5), SEQUENCES[:, 0]),
    (DenseNetwork(1, GELU()), SEQUENCES[:, 0]),
    (ResidualNetwork(4), SEQUENCES[:, 0]),
    (RecurrentNetwork(), SEQUENCES),
    (RecurrentNetwork(Erf(), 1.4, 0.7, 0.2), SEQUENCES),
    (ConvolutionalNetwork(2), SEQUENCES),
    (ConvolutionalNetwork(2, 2, Erf(), pooling=False), SEQUENCES),
    (HierarchicalNetwork((2, 2)), SEQUENCES[:, :4]),
    (HierarchicalNetwork((1, 5), Erf(), 1.5), SEQUENCES),
    (AttentionNetwork(), SEQUENCES),
    (AttentionNetwork(tied=False, weight_variance=1.5), SEQUENCES),
]


@pytest.mark.parametrize(("network", "x"), FAMILIES, ids=lambda value: getattr(value, "kind", ""))
def test_finite_networks_approach_it_as_one_over_root_width(network: InfiniteNetwork, x: Tensor) -> None:
    truth = infinite_width_kernels(network, x).ntk
    errors = []
    widths = (32, 128, 512)
    for width in widths:
        draws = [empirical(network, x, width, seed) for seed in range(6)]
        errors.append(float(torch.stack([(draw - truth).norm() / truth.norm() for draw in draws]).mean()))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.75 < slope < -0.3, errors
    assert errors[-1] < 0.2, errors


@pytest.mark.parametrize(("depth", "widths", "most"), [(1, OCTAVES, 0.08), (2, OCTAVES[:-1], 0.11)])
def test_relu_networks_of_thousands_of_units_are_near_it(depth: int, widths: tuple[int, ...], most: float) -> None:
    errors = tangent_kernel_errors(depth, widths, draws=16)
    assert -0.6 < np.polyfit(np.log(widths), np.log(errors), 1)[0] < -0.35
    assert errors[-1] < most


@pytest.mark.parametrize(("network", "x"), FAMILIES, ids=lambda value: getattr(value, "kind", ""))
def test_outputs_are_drawn_with_the_covariance_of_the_gaussian_process(network: InfiniteNetwork, x: Tensor) -> None:
    truth = infinite_width_kernels(network, x).nngp
    with torch.no_grad():
        outputs = torch.stack(
            [network.finite(tuple(x.shape[1:]), 128, torch.Generator().manual_seed(s))(x)[:, 0] for s in range(600)]
        )
    spread = (truth.diagonal()[:, None] * truth.diagonal() + truth**2).sqrt() / 600**0.5
    assert (((outputs.T @ outputs) / 600 - truth).abs() < 5 * spread + 0.05 * truth.norm() / len(x)).all()


@pytest.mark.parametrize(("network", "x"), FAMILIES, ids=lambda value: getattr(value, "kind", ""))
def test_kernels_are_symmetric_positive_and_the_same_in_parts(network: InfiniteNetwork, x: Tensor) -> None:
    whole, part = infinite_width_kernels(network, x), infinite_width_kernels(network, x[:2], x[2:])
    for kernel, corner in zip(whole, part, strict=True):
        torch.testing.assert_close(kernel, kernel.T)
        torch.testing.assert_close(kernel[:2, 2:], corner)
        assert torch.linalg.eigvalsh(kernel)[0] > -1e-12 * torch.linalg.eigvalsh(kernel)[-1]


@pytest.mark.parametrize(("network", "x"), FAMILIES, ids=lambda value: getattr(value, "kind", ""))
def test_tiles_make_the_kernels(network: InfiniteNetwork, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tiles of one input and of two or three, the last of them cut; of one set the lower half is the upper one's transpose."""
    more = torch.cat([x, 0.5 * x.flip(0)[:3]])
    whole, part = network.kernels(more, more), network.kernels(more, x)
    for size in (1, 3 * math.prod(x.shape[1:-1]) - 1):
        monkeypatch.setattr(infinite_network, "TILE", size)
        torch.testing.assert_close(infinite_width_kernels(network, more), whole, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(infinite_width_kernels(network, more, x), part, rtol=1e-12, atol=1e-13)


def test_a_wrong_recursion_is_seen_by_the_widths() -> None:
    """Were the tangent kernel of the step before not carried on, no width would come near."""
    network = RecurrentNetwork()
    right, wrong = infinite_width_kernels(network, SEQUENCES).ntk, 2 * infinite_width_kernels(network, SEQUENCES).nngp
    found = torch.stack([empirical(network, SEQUENCES, 512, seed) for seed in range(8)]).mean(0)
    assert (found - right).norm() / right.norm() < 0.15 < (found - wrong).norm() / right.norm()


def test_pooling_makes_it_blind_to_shifts_and_reading_each_position_does_not() -> None:
    shifted = torch.cat([SEQUENCES[:1], SEQUENCES[:1].roll(2, 1)])
    for pooling in (True, False):
        ntk = infinite_width_kernels(ConvolutionalNetwork(2, pooling=pooling), shifted).ntk
        assert bool(torch.isclose(ntk[0, 1], ntk[0, 0])) is pooling


def test_residual_kernels_have_a_limit_in_depth() -> None:
    kernels = [infinite_width_kernels(ResidualNetwork(depth), SEQUENCES[:, 0]).ntk for depth in (64, 128, 256)]
    first, second = (kernels[1] - kernels[0]).norm(), (kernels[2] - kernels[1]).norm()
    assert float(first / second) == pytest.approx(2.0, abs=0.1)
    plain = [infinite_width_kernels(DenseNetwork(depth), SEQUENCES[:, 0]).ntk.diagonal()[0] for depth in (8, 16)]
    assert float(plain[1] / plain[0]) > 1.8  # without the stream it grows with depth


@pytest.mark.parametrize("length", [1, 2, 12])
def test_a_diagonal_recurrence_against_its_gradients(length: int) -> None:
    generator = torch.Generator().manual_seed(3)
    decay, write, read = torch.rand(3, 5, generator=generator).double().unbind()
    decay[0] = 0.0
    x = torch.randn(4, length, generator=generator).double()

    def output(decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
        state = torch.zeros(len(x), 5, dtype=torch.float64)
        for t in range(length):
            state = decay * state + write * x[:, t, None]
        return state @ read

    flat = torch.cat(jacrev(output, (0, 1, 2))(decay, write, read), 1)
    torch.testing.assert_close(diagonal_recurrence_ntk(decay, write, read, x), flat @ flat.T, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(diagonal_recurrence_ntk(decay, write, read, x[:1], x), flat[:1] @ flat.T, rtol=1e-12, atol=1e-13)


def test_bad_input_is_refused() -> None:
    x = SEQUENCES
    with pytest.raises(ValueError, match=r"takes inputs \[sample, features\]"):
        infinite_width_kernels(DenseNetwork(), x)
    for kind in (RecurrentNetwork, ConvolutionalNetwork, AttentionNetwork, HierarchicalNetwork):
        with pytest.raises(ValueError, match=rf"takes inputs \[{', '.join(kind.axes)}\]"):
            infinite_width_kernels(kind(), x[:, 0])
    with pytest.raises(ValueError, match=r"patches \(2, 3\) take 6 positions"):
        infinite_width_kernels(HierarchicalNetwork((2, 3)), x[:, :5])
    with pytest.raises(ValueError, match="embed tokens first"):
        infinite_width_kernels(DenseNetwork(), torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(NonFiniteError, match=r"inputs is -?inf at index \(0, 0\)"):
        infinite_width_kernels(DenseNetwork(), x[:, 0] / 0)
    with pytest.raises(ValueError, match="cannot be compared"):
        infinite_width_kernels(RecurrentNetwork(), x, x[:, :3])
    with pytest.raises(ValueError, match="write .* must be 2"):
        diagonal_recurrence_ntk(torch.ones(2), torch.ones(3), torch.ones(2), x[:, :, 0])
    for empty in (x[:0], x[:, :0], x[..., :0]):
        with pytest.raises(ValueError, match="are empty"):
            infinite_width_kernels(RecurrentNetwork(), empty)
    with pytest.raises(ValueError, match="got torch.int16; embed tokens first"):
        infinite_width_kernels(DenseNetwork(), torch.zeros(2, 3, dtype=torch.int16))
    for scale in (1e80, 1e-80):  # a kernel of zeros, or of no numbers
        with pytest.raises(ValueError, match="leave the range of float64"):
            infinite_width_kernels(DenseNetwork(), scale * x[:, 0])
    with pytest.raises(ValueError, match=r"a variance of .* needs .* points"):
        infinite_width_kernels(DenseNetwork(nonlinearity=Tanh()), 1e4 * x[:, 0])
    silent = torch.cat([torch.zeros_like(x[:1]), x[:1]])
    assert infinite_width_kernels(replace(RecurrentNetwork(), bias_variance=0.0), silent).ntk.isfinite().all()


@pytest.mark.parametrize(("nonlinearity", "critical"), [(ReLU(), 2.0), (Identity(), 1.0), (Erf(), torch.pi / 4)])
def test_critical_weight_variances(nonlinearity: Nonlinearity, critical: float) -> None:
    """Known in closed form; above it differences grow with depth and below they die."""
    found = critical_weight_variance(nonlinearity)
    assert found == pytest.approx(critical, rel=1e-5)
    assert susceptibilities(nonlinearity, 1e-6, 1.1 * found).perpendicular > 1.05
    assert susceptibilities(nonlinearity, 1e-6, 0.9 * found).perpendicular < 0.95


def test_susceptibilities_are_the_growth_of_small_changes() -> None:
    w, at, change = 1.3, 0.7, 1e-5
    found = susceptibilities(Erf(), at, w)
    larger, plain = kernel_by_depth(Erf(), at + change, w, 2)[1], kernel_by_depth(Erf(), at, w, 2)[1]
    assert found.parallel == pytest.approx(float(larger - plain) / change, rel=1e-4)
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * at**0.5
    slope = 2 / torch.pi**0.5 * torch.exp(-z.square())
    assert found.perpendicular == pytest.approx(w * float(slope.square().mean()), rel=0.01)
    assert found.parallel < found.perpendicular


def test_the_kurtosis_of_a_deep_linear_network() -> None:
    """Of drawn networks, whole: the departure from a Gaussian's is of depth over width."""
    generator, width, layers = torch.Generator().manual_seed(0), 8, 4
    hidden = torch.ones(20_000, 1, width, dtype=torch.float64)
    for _ in range(layers):
        hidden = hidden @ torch.randn(20_000, width, width, generator=generator, dtype=torch.float64) / width**0.5
    measured = float(hidden.pow(4).mean() / (3 * hidden.square().mean().square()))
    assert measured == pytest.approx(deep_linear_kurtosis(width, layers), rel=0.06)
    assert measured != pytest.approx(deep_linear_kurtosis(width, layers - 1), rel=0.06)
    assert deep_linear_kurtosis(10**6, layers) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_network_without_a_variance_or_a_layer_is_refused(value: float) -> None:
    for make in (DenseNetwork, ResidualNetwork, ConvolutionalNetwork, HierarchicalNetwork, AttentionNetwork):
        with pytest.raises(ValueError, match="weight_variance"):
            make(weight_variance=value)
    for make in (ResidualNetwork, ConvolutionalNetwork):
        with pytest.raises(ValueError, match="depth=0 must be at least 1"):
            make(depth=0)
    with pytest.raises(ValueError, match="depth=-1"):
        DenseNetwork(depth=-1)
    with pytest.raises(ValueError, match="depth=1.5 must be a whole number"):
        DenseNetwork(depth=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws=0 must be at least 1"):
        ManyHeadedAttention(draws=0)
    for patches in ((), (2, 0)):
        with pytest.raises(ValueError, match="must be positive numbers"):
            HierarchicalNetwork(patches=patches)
    with pytest.raises(ValueError, match="depth=0 must be at least 1"):
        kernel_by_depth(ReLU(), 1.0, 2.0, 0)
    with pytest.raises(ValueError, match="must be positive"):
        susceptibilities(Tanh(), 0.0, 1.0)
    with pytest.raises(TypeError, match="decay is complex"):
        diagonal_recurrence_ntk(torch.tensor([0.5 + 0.5j]), torch.ones(1), torch.ones(1), torch.ones(2, 3))
