"""Transitions against their dense matrices, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from operator_checks import check_operator
from recurrences import RECURRENCES, unit
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from statescope import Transition, delta_rule
from statescope.kernels.operators.transition import householder_write

BATCH, K, V = (3, 2), 8, 5


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def householders(keys: int, *, decay: bool = True) -> Transition:
    log_decay = -rand(*BATCH) if decay else None
    return Transition.householders(unit(torch.randn(*BATCH, keys, K, dtype=torch.float64)), 2 * rand(*BATCH, keys), log_decay)


def factors(rank: int = 2) -> tuple[Tensor, ...]:
    return (torch.randn(2, *BATCH, K, rank, dtype=torch.float64) / K).unbind(0)


def general(rank: int) -> Transition:
    return Transition(rand(*BATCH, K), *factors(rank))


def by_channel(keys: int) -> Transition:
    return Transition.householders(
        unit(torch.randn(*BATCH, keys, K, dtype=torch.float64)), 2 * rand(*BATCH, keys), -rand(*BATCH, K)
    )


def rwkv7() -> Transition:
    a = unit(torch.randn(*BATCH, K, dtype=torch.float64))
    return Transition.diagonal_plus_low_rank(a, -rand(*BATCH, K) * a, -rand(*BATCH, K))


def unit_circle(*shape: int) -> Tensor:
    """e^{g + i theta} of shape [...], of modulus at most 1, as its logarithm."""
    return torch.complex(-rand(*shape), 6 * rand(*shape))


def complex_general(channels: int, rank: int) -> Transition:
    left, right = (torch.randn(2, *BATCH, K, rank, dtype=torch.complex128) / K).unbind(0)
    return Transition(unit_circle(*BATCH, channels).exp(), left, right, -rand(*BATCH, 1))


TRANSITIONS = {
    "turning-scalar": lambda: Transition.diagonal_only(unit_circle(*BATCH, 1), K),
    "turning-diagonal": lambda: Transition.diagonal_only(unit_circle(*BATCH, K), K),
    "complex-scalar-rank-1": lambda: complex_general(1, 1),
    "complex-scalar-rank-2": lambda: complex_general(1, 2),
    "complex-diagonal-rank-1": lambda: complex_general(K, 1),
    "complex-diagonal-rank-3": lambda: complex_general(K, 3),
    "decayed-general": lambda: Transition(rand(*BATCH, K), *factors(), -rand(*BATCH, K)),
    "equal-diagonal": lambda: Transition(rand(*BATCH, 1).expand(*BATCH, K), *factors()),
    "scalar": lambda: Transition.diagonal_only(-rand(*BATCH, 1), K),
    "diagonal": lambda: Transition.diagonal_only(-rand(*BATCH, K), K),
    "one-key": lambda: householders(1),
    "three-keys": lambda: householders(3),
    "as-many-keys-as-channels": lambda: householders(K),
    "more-keys-than-channels": lambda: householders(K + 3),
    "by-channel": lambda: by_channel(1),
    "by-channel-two-keys": lambda: by_channel(2),
    "rwkv7": lambda: rwkv7(),
    "no-decay": lambda: householders(2, decay=False),
    "diagonal-plus-low-rank": lambda: general(2),
}


def nearest(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance in the best pairing of two spectra [..., K]."""
    far = 0.0
    for own, other in zip(found.reshape(-1, K), exact.reshape(-1, K), strict=True):
        distance = np.abs(own[:, None] - other)
        far = max(far, float(distance[linear_sum_assignment(distance)].max()))
    return far


@pytest.mark.parametrize("name", TRANSITIONS)
def test_it_agrees_with_numpy_on_the_dense_matrix(name: str) -> None:
    """In complex128, whatever the kind of the transition."""
    transition = TRANSITIONS[name]()
    dense = transition.dense()
    exact = dense.numpy().astype(np.complex128)
    assert transition.shape == exact.shape == (*BATCH, K, K)
    state = torch.randn(*BATCH, K, V, dtype=transition.dtype)
    np.testing.assert_allclose(transition.matmat(state).numpy(), exact @ state.numpy(), rtol=0, atol=1e-12)
    assert transition.eigenvalues().dtype == torch.complex128
    assert nearest(transition.eigenvalues().numpy(), np.linalg.eigvals(exact)) < 1e-8
    values = np.linalg.svd(exact, compute_uv=False)
    np.testing.assert_allclose(transition.singular_values().numpy(), values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(transition.norm().numpy(), values[..., 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(transition.log_abs_det().numpy(), np.linalg.slogdet(exact)[1], rtol=1e-10, atol=1e-10)
    for real in (transition.singular_values(), transition.norm(), transition.log_abs_det()):
        assert real.dtype == torch.float64


@pytest.mark.parametrize("name", TRANSITIONS)
def test_it_is_an_operator(name: str) -> None:
    check_operator(TRANSITIONS[name]())


def test_complex_stays_complex() -> None:
    """In every precision and through every change; a real diagonal beside complex columns is a complex transition."""
    turning = complex_general(K, 2)
    for dtype, wanted in (
        (torch.float32, torch.complex64),
        (torch.float64, torch.complex128),
        (torch.complex64, torch.complex64),
    ):
        moved = turning.to(dtype)
        assert moved.dtype == wanted
        torch.testing.assert_close(moved.dense().to(torch.complex128), turning.dense(), rtol=0, atol=1e-6)
    assert turning.to(device="cpu").dtype == turning.detach()[0].dtype == turning.double().dtype == torch.complex128
    mixed = Transition(rand(*BATCH, K), *(x.to(torch.complex128) for x in factors()))
    assert mixed.diagonal.dtype == mixed.dtype == mixed.compose(general(1)).dtype == torch.complex128
    assert Transition.diagonal_only(torch.complex(-rand(3, 1), rand(3, 1)).to(torch.complex64), K).dtype == torch.complex64
    assert Transition.householders(rand(1, K).bfloat16(), rand(1).bfloat16()).dtype == torch.float32


def test_an_equal_diagonal_takes_the_small_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    equal = TRANSITIONS["equal-diagonal"]()
    expected = torch.linalg.eigvals(equal.dense()), torch.linalg.svdvals(equal.dense())
    monkeypatch.setattr(Transition, "dense", lambda _: pytest.fail("the dense matrix was decomposed"))
    assert nearest(equal.eigenvalues().numpy(), expected[0].numpy()) < 1e-8
    torch.testing.assert_close(equal.singular_values(), expected[1], rtol=0, atol=1e-12)


def test_batch_axes_are_indexed_as_those_of_a_tensor() -> None:
    for name in ("by-channel", "three-keys", "turning-diagonal"):
        transition = TRANSITIONS[name]()
        for index in (1, (slice(None), 1), (slice(1, 3), ...), [0, 2]):
            torch.testing.assert_close(transition[index].dense(), transition.dense()[index])
        torch.testing.assert_close(transition[..., 0].dense(), transition.dense()[..., 0, :, :])


@pytest.mark.parametrize("first", TRANSITIONS)
def test_compose_is_the_product_in_order(first: str) -> None:
    a = TRANSITIONS[first]()
    for second, make in TRANSITIONS.items():
        b = make()
        common = torch.promote_types(a.dtype, b.dtype)
        product = b.dense().to(common) @ a.dense().to(common)
        torch.testing.assert_close(b.compose(a).dense(), product, rtol=1e-12, atol=1e-12, msg=second)


def test_the_sign_of_a_rank_one_part_may_differ_between_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tokens add and some erase: all are symmetric in the same way, and none needs the dense matrix."""
    key = torch.randn(*BATCH, K, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0]).double().expand(BATCH)[..., None]
    transition = Transition.diagonal_plus_low_rank(key, sign * key, -rand(*BATCH, K))
    exact = torch.linalg.eigvals(transition.dense())
    monkeypatch.setattr(Transition, "dense", lambda _: pytest.fail("the dense matrix was decomposed"))
    found = transition.eigenvalues()
    assert (found.imag == 0).all()
    assert nearest(found.numpy(), exact.numpy()) < 1e-9


@pytest.mark.parametrize("keys", [1, 2, 4])
def test_householders_is_the_product_of_its_factors_in_order(keys: int) -> None:
    k, beta, decay = unit(torch.randn(*BATCH, keys, K, dtype=torch.float64)), 2 * rand(*BATCH, keys), -rand(*BATCH)
    product = decay.exp()[..., None, None] * torch.eye(K, dtype=torch.float64)
    for i in range(keys):
        product = (
            torch.eye(K, dtype=torch.float64) - beta[..., i, None, None] * k[..., i, :, None] * k[..., i, None, :]
        ) @ product
    found = Transition.householders(k, beta, decay).dense()
    torch.testing.assert_close(found, product, rtol=0, atol=1e-12)
    if keys > 1:  # the wrong order is another matrix
        wrong = Transition.householders(k.flip(-2), beta.flip(-1), decay).dense()
        assert (wrong - product).abs().max() > 1e-3


@pytest.mark.parametrize("keys", [1, 3])
def test_transition_and_write_are_one_step_of_the_delta_rule(keys: int) -> None:
    k, beta = unit(torch.randn(*BATCH, keys, K, dtype=torch.float64)), 2 * rand(*BATCH, keys)
    v, decay = torch.randn(*BATCH, keys, V, dtype=torch.float64), -rand(*BATCH)
    state = torch.randn(*BATCH, K, V, dtype=torch.float64)
    step = Transition.householders(k, beta, decay).matmat(state) + householder_write(k, v, beta)
    q = torch.zeros(BATCH[0], 1, BATCH[1], K, dtype=torch.float64)
    out = delta_rule(q, k[:, None], v[:, None], beta[:, None], decay[:, None], initial_state=state, implementation="reference")
    torch.testing.assert_close(out.final_state, step, rtol=0, atol=1e-12)


def test_a_delta_rule_with_unit_keys_never_expands() -> None:
    assert householders(4).norm().max() <= 1 + 1e-12


def test_beta_2_reflects_and_beta_1_erases() -> None:
    """beta = 2: eigenvalue -1, determinant -1. beta = 1: a zero eigenvalue, and log |det| = -inf."""
    key = unit(torch.randn(1, K, dtype=torch.float64))
    reflection = Transition.householders(key, torch.tensor([2.0], dtype=torch.float64))
    assert reflection.eigenvalues().real.min().item() == pytest.approx(-1, abs=1e-12)
    assert reflection.log_abs_det().item() == pytest.approx(0, abs=1e-12)
    projection = Transition.householders(key, torch.tensor([1.0], dtype=torch.float64))
    assert projection.eigenvalues().abs().min().item() == pytest.approx(0, abs=1e-12)
    assert projection.log_abs_det().item() < -30


def test_an_entry_of_the_diagonal_that_is_zero() -> None:
    transition = general(2)
    diagonal = transition.diagonal.clone()
    diagonal[..., 0] = 0
    singular = Transition(diagonal, transition.left, transition.right)
    torch.testing.assert_close(singular.log_abs_det(), torch.linalg.slogdet(singular.dense()).logabsdet)


def test_two_reflections_rotate() -> None:
    """The product of two Householder reflections turns by twice the angle between their keys: complex eigenvalues."""
    angle = torch.tensor(0.6, dtype=torch.float64)
    keys = torch.zeros(2, K, dtype=torch.float64)
    keys[0, 0], keys[1, 0], keys[1, 1] = 1, angle.cos(), angle.sin()
    found = Transition.householders(keys, torch.full((2,), 2.0, dtype=torch.float64)).eigenvalues()
    assert found.angle().max().item() == pytest.approx(1.2, abs=1e-12)


def test_kimi_delta_attention_and_rwkv7_have_real_spectra() -> None:
    """And one negative eigenvalue at most, for Kimi Delta Attention exactly where beta > 1."""
    for transition in (by_channel(1), rwkv7()):
        assert torch.linalg.eigvals(transition.dense()).imag.abs().max() < 1e-10
        assert (transition.eigenvalues().imag == 0).all()
    key, decay = unit(torch.randn(50, 1, K, dtype=torch.float64)), -rand(50, K)
    beta = 2 * rand(50, 1)
    negative = (Transition.householders(key, beta, decay).eigenvalues().real < -1e-12).sum(-1)
    assert negative.tolist() == (beta[:, 0] > 1).long().tolist()


@pytest.mark.parametrize("name", ["low-rank", "delta-by-channel", "delta-product-by-channel"])
def test_a_transition_is_one_step_of_its_recurrence(name: str) -> None:
    inputs = RECURRENCES[name].make(1, 1, 2, K, V, torch.float64, 3)
    state = torch.randn(1, 2, K, V, dtype=torch.float64)
    inputs["v"] = torch.zeros_like(inputs["v"])
    found = RECURRENCES[name].call(**inputs, initial_state=state, implementation="reference").final_state
    now = {key: x[:, 0] for key, x in inputs.items()}
    if name == "low-rank":
        transition = Transition.diagonal_plus_low_rank(now["a"], now["b"], now["log_decay"])
    else:
        k, beta = (now["k"], now["beta"]) if "product" in name else (now["k"][..., None, :], now["beta"][..., None])
        transition = Transition.householders(k, beta, now["log_decay"])
    torch.testing.assert_close(transition.matmat(state), found, rtol=0, atol=1e-12)


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="must agree"):
        Transition(rand(2, K), rand(2, K, 1), rand(2, K, 2))
    with pytest.raises(ValueError, match=r"undecayed \(2, 3\) needs \(2, 1\) or \(2, 8\)"):
        Transition(rand(2, 3), rand(2, K, 1), rand(2, K, 1))
    with pytest.raises(ValueError, match="must agree"):
        Transition.householders(rand(2, K), rand(3))
    with pytest.raises(ValueError, match="compose"):
        Transition.diagonal_only(-rand(1), 4).compose(Transition.diagonal_only(-rand(1), 5))


@pytest.mark.parametrize("channels", [1, 5])
def test_what_it_is_made_of_multiplies_out_to_the_matrix(channels: int) -> None:
    """`diagonal`, `left` and `right` are those of the matrix itself, however its decay is kept."""
    keys = torch.nn.functional.normalize(torch.randn(3, 2, 5, dtype=torch.float64), dim=-1)
    log_decay = torch.complex(-torch.rand(3, channels, dtype=torch.float64), torch.rand(3, channels, dtype=torch.float64))
    rank = Transition.householders(
        keys, torch.rand(3, 2, dtype=torch.float64) * 2, log_decay.real if channels > 1 else log_decay.real[:, 0]
    )
    for transition in (rank, Transition.diagonal_only(log_decay, 5)):
        whole = torch.diag_embed(transition.diagonal.expand(3, 5)) + transition.left @ transition.right.mT
        torch.testing.assert_close(whole, transition.dense())
        torch.testing.assert_close(transition.matmat(torch.eye(5, dtype=whole.dtype)), whole)
    assert transition.diagonal.imag.abs().max() > 0.1


@pytest.mark.parametrize("beta", [0.0, 1e-9, 0.3, 1.0, 1.7, 2.0, 2.0 + 1e-9])
@pytest.mark.parametrize("gate", [-2.0, 0.0])
def test_singular_values_of_one_reflection_at_its_edges(beta: float, gate: float) -> None:
    """|1 - beta| e^g along the key and e^g elsewhere, to rounding: at beta = 2 the norm is 1 and not 1 + 1e-8, as the root of a
    difference of squares would have it.
    """
    key = torch.nn.functional.normalize(torch.randn(1, 5, dtype=torch.float64), dim=-1)
    transition = Transition.householders(key, torch.tensor([beta], dtype=torch.float64), torch.tensor(gate, dtype=torch.float64))
    scale = math.exp(gate)
    expected = sorted([abs(1 - beta) * scale, *[scale] * 4], reverse=True)
    torch.testing.assert_close(transition.singular_values(), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-15)
    for found, wanted in zip(transition.extreme_singular_values(), (expected[0], expected[-1]), strict=True):
        assert float(found) == pytest.approx(wanted, rel=1e-14, abs=1e-15)


def test_singular_values_of_any_rank_one_part() -> None:
    left, right = torch.randn(2, 40, 7, 1, dtype=torch.float64).unbind(0)
    for scalar in (torch.ones(40, 1), torch.randn(40, 1), torch.zeros(40, 1)):
        transition = Transition(scalar.double(), left, right)
        torch.testing.assert_close(transition.singular_values(), torch.linalg.svdvals(transition.dense()), rtol=1e-11, atol=1e-12)
