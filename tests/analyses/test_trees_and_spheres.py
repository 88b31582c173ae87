"""Kernels of trees, of attention, of the sphere and of deep kernel machines: known limits, and variants that are wrong."""

from __future__ import annotations

import math

import pytest
import torch

from statescope.analyses.infinite_width.attention import AttentionNetwork, ManyHeadedAttention
from statescope.analyses.infinite_width.deep_kernel_machine import deep_kernel_machine, next_gram
from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.hierarchical import HierarchicalNetwork
from statescope.analyses.infinite_width.network import infinite_width_kernels
from statescope.analyses.infinite_width.nonlinearities import Erf, GoLU, ReLU, SiLU
from statescope.analyses.infinite_width.sphere import kernel_of_angle, sphere_eigenvalues, sphere_multiplicities
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.analyses.ntk.measures import relative_change
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.errors import UnknownNameError

SEQUENCES = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_a_tree_of_one_patch_is_the_dense_network() -> None:
    found = infinite_width_kernels(HierarchicalNetwork((4,), Erf(), 1.5), SEQUENCES)
    dense = infinite_width_kernels(DenseNetwork(1, Erf(), 1.5), SEQUENCES.flatten(1))
    # the dense network's weights behind the nonlinearity have the variance w, the tree's read-out 1
    torch.testing.assert_close(1.5 * found.nngp, dense.nngp, rtol=0, atol=1e-12)
    torch.testing.assert_close(1.5 * found.ntk, dense.ntk, rtol=0, atol=1e-12)
    other = infinite_width_kernels(HierarchicalNetwork((2, 2), Erf(), 1.5), SEQUENCES)
    assert (other.ntk - found.ntk).norm() > 0.05 * found.ntk.norm()


def test_a_tree_sees_order_within_neighbours_alone() -> None:
    """Patches do not change when their positions are swapped, and the kernel of the function does with other patches' ones."""
    inside, across = SEQUENCES[:, [1, 0, 3, 2]], SEQUENCES[:, [0, 2, 1, 3]]
    network = HierarchicalNetwork((2, 2))
    whole = infinite_width_kernels(network, SEQUENCES).ntk
    torch.testing.assert_close(infinite_width_kernels(network, inside).ntk, whole, rtol=0, atol=1e-12)
    assert (infinite_width_kernels(network, across).ntk - whole).norm() > 1e-3 * whole.norm()
    with pytest.raises(ValueError, match=r"4 positions"):
        infinite_width_kernels(network, SEQUENCES[:, :3])


def test_untied_attention_is_the_mean_and_sharp_tied_attention_keeps_tokens_apart() -> None:
    mean = SEQUENCES.mean(1)
    untied = infinite_width_kernels(AttentionNetwork(tied=False), SEQUENCES)
    torch.testing.assert_close(untied.nngp, mean @ mean.T / 3, rtol=0, atol=1e-12)
    torch.testing.assert_close(untied.ntk, 2 * untied.nngp)
    tied = infinite_width_kernels(AttentionNetwork(sharpness=3.0), SEQUENCES).nngp
    scores = torch.softmax(SEQUENCES @ SEQUENCES.mT, -1) @ SEQUENCES  # sharpness / features = 1
    torch.testing.assert_close(tied, scores.mean(1) @ scores.mean(1).T / 3, rtol=0, atol=1e-12)
    torch.testing.assert_close(infinite_width_kernels(AttentionNetwork(sharpness=0.0), SEQUENCES).nngp, untied.nngp)


def test_attention_of_many_heads_against_networks_of_many_heads() -> None:
    """Without what queries and keys train by, or with untied attention of the other scaling, no number of heads comes near."""
    network = ManyHeadedAttention(sharpness=3.0, draws=1500)
    found = infinite_width_kernels(network, SEQUENCES)
    drawn = [network.finite((4, 3), 24, torch.Generator().manual_seed(seed)) for seed in range(12)]
    ntk = torch.stack([empirical_ntk(model, SEQUENCES) for model in drawn]).mean(0)
    assert relative_change(ntk, found.ntk) < 0.08
    assert relative_change(ntk, 2 * found.nngp) > 0.12
    with torch.no_grad():
        outputs = torch.stack(
            [network.finite((4, 3), 10, torch.Generator().manual_seed(s))(SEQUENCES)[:, 0] for s in range(1500)]
        )
    assert relative_change(outputs.T @ outputs / 1500, found.nngp) < 0.1
    assert relative_change(infinite_width_kernels(AttentionNetwork(tied=False), SEQUENCES).nngp, found.nngp) > 0.1


def test_slopes_of_attention_are_those_of_autograd() -> None:
    network, mixing = ManyHeadedAttention(sharpness=3.0), torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    slopes = torch.func.jacrev(lambda w: network._attended(SEQUENCES, w)[0])(mixing)
    torch.testing.assert_close(network._attended(SEQUENCES, mixing)[1], slopes, rtol=0, atol=1e-12)


def test_eigenvalues_on_the_sphere_of_polynomials_and_of_the_arc_cosine_kernel() -> None:
    """t = sum of degree 1 in d dimensions: 1 / d. t^2 = (1 - 1/d) of degree 2 and 1/d of degree 0, over multiplicities."""
    for d in (3, 5):
        expected = torch.tensor([0.0, 1 / d, 0.0], dtype=torch.float64)
        torch.testing.assert_close(sphere_eigenvalues(lambda t: t, d, 3), expected, rtol=0, atol=1e-12)
        square = sphere_eigenvalues(lambda t: t**2, d, 3)
        assert float(square[0]) == pytest.approx(1 / d, abs=1e-12)
        assert float(square[2] * sphere_multiplicities(d, 3)[2]) == pytest.approx(1 - 1 / d, abs=1e-12)
    assert sphere_multiplicities(3, 4).tolist() == [1, 3, 5, 7]
    kernel = kernel_of_angle(DenseNetwork(1), 3)
    values = sphere_eigenvalues(kernel, 3, 150)
    whole = float((values * sphere_multiplicities(3, 150)).sum())
    assert whole == pytest.approx(float(kernel(torch.ones(1).double())), rel=1e-3)
    assert float(values[3]) == pytest.approx(0, abs=1e-6)  # the arc-cosine kernel has no odd degree above 1
    with pytest.raises(ValueError, match="dimension >= 3"):
        sphere_eigenvalues(kernel, 2, 3)
    with pytest.raises(UnknownNameError, match="kernel 'tangent' is not known"):
        kernel_of_angle(DenseNetwork(1), 3, "tangent")


def test_deep_kernel_machines_end_at_the_wide_network_or_at_the_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    y = (x[:, :1] * x[:, 1:2]).sign()
    network = DenseNetwork(2, bias_variance=0.1)
    wide = infinite_width_kernels(network, x).nngp
    stiff, soft = (deep_kernel_machine(network, x, y, strength, 0.1) for strength in (1e5, 1.0))
    torch.testing.assert_close(stiff.kernel, wide, rtol=1e-3, atol=1e-3)
    assert (soft.kernel - wide).norm() > 0.1 * wide.norm()
    assert soft.log_likelihood > stiff.log_likelihood + 0.1
    law = torch.distributions.MultivariateNormal(torch.zeros(8).double(), soft.kernel + 0.1 * torch.eye(8).double())
    assert soft.log_likelihood == pytest.approx(float(law.log_prob(y.T).sum()), abs=1e-9)
    assert all(later >= earlier - 1e-9 for earlier, later in zip(soft.objective, soft.objective[1:], strict=False))


def test_the_optimum_of_a_deep_kernel_machine_is_one() -> None:
    """No small change of the Gram matrix gives a larger objective, written out here."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    network, zero = DenseNetwork(2, bias_variance=0.2), torch.zeros(6).double()
    found = deep_kernel_machine(network, x, y, 2.0, 0.1)
    first = next_gram(network, 2 / 3 * x @ x.T + 0.2)

    def objective(gram: torch.Tensor) -> float:
        law = torch.distributions.MultivariateNormal(zero, next_gram(network, gram) + 0.1 * torch.eye(6).double())
        own, prior = (torch.distributions.MultivariateNormal(zero, one) for one in (gram, first))
        return float(law.log_prob(y.T).sum() - 2.0 * torch.distributions.kl_divergence(own, prior))

    best = objective(found.grams[0])
    assert best == pytest.approx(found.objective[-1], abs=1e-8)
    for _ in range(20):
        step = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        moved = found.grams[0] + 1e-4 * (step + step.T)
        assert objective(moved) < best + 1e-7
    assert objective(first) < best - 1e-3


def test_deep_kernel_machines_refuse_what_has_no_answer() -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(ValueError, match="no layer to learn"):
        deep_kernel_machine(DenseNetwork(1), x, x[:, :1], 1.0, 0.1)
    with pytest.raises(ValueError, match="strength > 0"):
        deep_kernel_machine(DenseNetwork(2), x, x[:, :1], 0.0, 0.1)
    with pytest.raises(ValueError, match="singular"):
        deep_kernel_machine(DenseNetwork(2), torch.cat([x, x]), torch.cat([x, x])[:, :1], 1.0, 0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_deep_kernel_machines_name_what_is_not_finite(wrong: float) -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spoilt = x.clone()
    spoilt[2, 1] = wrong
    network = DenseNetwork(3)
    with pytest.raises(NonFiniteError, match=rf"^x is {wrong} at index \(2, 1\)"):
        deep_kernel_machine(network, spoilt, x, 1.0, 0.1)
    with pytest.raises(NonFiniteError, match=rf"^targets is {wrong} at index \(2, 1\)"):
        deep_kernel_machine(network, x, spoilt, 1.0, 0.1)
    for strength, noise in ((wrong, 0.1), (1.0, wrong)):
        with pytest.raises(ValueError, match=rf"strength > 0 and noise > 0 are needed, got .*{wrong}"):
            deep_kernel_machine(network, x, x, strength, noise)
    with pytest.raises(ValueError, match=f"weight_variance={wrong}"):
        DenseNetwork(3, weight_variance=wrong)
    with pytest.raises(NonFiniteError, match="the kernel of hidden layer 1 is"):
        deep_kernel_machine(network, 1e200 * x, x, 1.0, 0.1)


def test_units_by_quadrature_have_the_variances_that_are_known() -> None:
    one = torch.ones((), dtype=torch.float64)
    for unit, expected in ((GoLU(), 0.2526), (SiLU(), 0.3131)):
        mean = float(unit.covariance(0 * one, one, one))
        assert float(unit.variance(one)) - mean == pytest.approx(expected, abs=1e-4)
    at = torch.tensor([-800.0, 0.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(GoLU().slope(at), torch.tensor([0.0, 1 / math.e, 1.0]).double())
    torch.testing.assert_close(GoLU()(at), torch.tensor([0.0, 0.0, 30.0]).double())


def test_relus_variance_is_its_covariance_with_itself() -> None:
    a = torch.tensor([0.3, 2.0], dtype=torch.float64)
    for unit in (ReLU(), ReLU(0.2), ReLU(-1.0)):
        torch.testing.assert_close(unit.variance(a), unit.covariance(a, a, a))
