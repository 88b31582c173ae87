"""Variants against their papers' equations, written out a second time token by token."""

from __future__ import annotations

import pytest
import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope import linear_attention
from statescope.kernels.fixed_decay import lightning_log_decay, retnet_log_decay

B, T, H, K, V = 2, 33, 2, 6, 4
IMPLEMENTATIONS = ("reference", "chunked")


def inputs_of(name: str) -> dict[str, Tensor]:
    return RECURRENCES[name].make(B, T, H, K, V, torch.float64, 9)


def mlstm_by_definition(q: Tensor, k: Tensor, v: Tensor, log_input: Tensor, log_decay: Tensor, *, floor: float = 1.0) -> Tensor:
    """Beck et al. 2024, equations 19 to 23, without the stabiliser."""
    cell, normaliser, outputs = torch.zeros(B, H, K, V).double(), torch.zeros(B, H, K).double(), []
    for t in range(T):
        f, i = log_decay[:, t].exp(), log_input[:, t].exp()
        cell = f[..., None, None] * cell + i[..., None, None] * k[:, t, :, :, None] * v[:, t, :, None, :]
        normaliser = f[..., None] * normaliser + i[..., None] * k[:, t]
        scale = (normaliser * q[:, t]).sum(-1).abs().clamp(min=floor)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], cell) / scale[..., None])
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["mlstm", "mlstm-40"])
def test_mlstm(name: str, implementation: str) -> None:
    inputs = inputs_of(name)
    found = RECURRENCES[name].call(**inputs, implementation=implementation)
    assert relative(found.output, mlstm_by_definition(**inputs)) < 1e-12
    assert relative(found.output, mlstm_by_definition(**inputs, floor=1e-30)) > 1e-3 or name == "mlstm-40"


def test_mlstm_stays_finite_where_the_definition_overflows() -> None:
    inputs = inputs_of("mlstm")
    far = {**inputs, "log_input": inputs["log_input"] + 2000.0}
    found = RECURRENCES["mlstm"].call(**far).output
    assert found.isfinite().all()
    assert not mlstm_by_definition(**far).isfinite().all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_rwkv6_reads_before_it_writes(implementation: str) -> None:
    inputs = inputs_of("bonus")
    q, k, v, log_decay, bonus = inputs.values()
    state, outputs = torch.zeros(B, H, K, V).double(), []
    for t in range(T):
        write = k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state + bonus[..., None] * write))
        state = log_decay[:, t].exp()[..., None] * state + write
    found = RECURRENCES["bonus"].call(**inputs, implementation=implementation)
    assert relative(found.output, torch.stack(outputs, 1)) < 1e-12
    assert relative(found.final_state, state) < 1e-12


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_normaliser_makes_each_output_a_mean(implementation: str) -> None:
    inputs = inputs_of("normalised")
    weights = torch.einsum("bihk,bjhk->bhij", inputs["q"], inputs["k"])
    c = inputs["log_decay"].cumsum(1).mT
    weights = weights * (c[..., :, None] - c[..., None, :]).exp().tril()
    expected = torch.einsum("bhij,bjhv->bihv", weights / weights.sum(-1, keepdim=True), inputs["v"])
    found = RECURRENCES["normalised"].call(**inputs, implementation=implementation)
    assert relative(found.output, expected) < 1e-12
    constant = {**inputs, "v": torch.ones_like(inputs["v"])}
    torch.testing.assert_close(RECURRENCES["normalised"].call(**constant).output, constant["v"])


def test_a_normaliser_of_zero_is_refused() -> None:
    inputs = inputs_of("normalised")
    with pytest.raises(ValueError, match=r"the normaliser z . q is 0 at index \(0, 0, 0\): it needs positive features"):
        linear_attention(**{**inputs, "k": torch.zeros_like(inputs["k"])}, normalise=True)


def test_fixed_decays() -> None:
    assert retnet_log_decay(3).exp().tolist() == pytest.approx([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128], abs=1e-15)
    assert lightning_log_decay(8).tolist() == pytest.approx([-(2.0**-h) for h in range(1, 9)], abs=1e-15)
    assert lightning_log_decay(8, layer=2, layers=3).abs().max() == 0
    for wrong in (lambda: lightning_log_decay(6), lambda: lightning_log_decay(8, layer=3, layers=3)):
        with pytest.raises(ValueError, match=r"power of two|outside"):
            wrong()
