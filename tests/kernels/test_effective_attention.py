"""Effective attention times values is the read-out, exactly."""

from __future__ import annotations

import pytest
import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope import effective_attention, linear_attention
from statescope.kernels.mlstm import mlstm_effective_attention


@pytest.mark.parametrize("length", [1, 9, 70])
@pytest.mark.parametrize("name", [name for name in RECURRENCES if not name.startswith("mlstm")])
def test_it_times_values_is_the_output(name: str, length: int) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, length, 3, 8, 5, torch.float64, 5)
    how = {"normalise": True} if name == "normalised" else {}
    mixing = effective_attention(**{key: x for key, x in inputs.items() if key != "v"}, **how)
    v = inputs["v"]
    if v.ndim == 5:
        read = torch.einsum("bhijn,bjhnv->bihv", mixing, v)
        causal = mixing.amax(-1)
    else:
        read, causal = torch.einsum("bhij,bjhv->bihv", mixing, v), mixing
    assert relative(read, recurrence.call(**inputs, implementation="reference").output) < 1e-12
    assert torch.equal(causal.triu(1), torch.zeros_like(causal))


@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("name", ["mlstm", "mlstm-40"])
def test_of_the_mlstm(name: str, length: int) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, length, 3, 8, 5, torch.float64, 5)
    mixing = mlstm_effective_attention(*(inputs[key] for key in ("q", "k", "log_input", "log_decay")))
    read = torch.einsum("bhij,bjhv->bihv", mixing, inputs["v"])
    assert relative(read, recurrence.call(**inputs, implementation="reference").output) < 1e-12


def test_a_row_is_divided_by_its_sum_whatever_the_signs() -> None:
    """By the recurrence's own normaliser z . q, not by the sum of sizes, which is the same where all features are positive."""
    q, k, v = torch.randn(3, 2, 9, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixing = effective_attention(q, k, normalise=True)
    assert (mixing < 0).any()
    read = torch.einsum("bhij,bjhv->bihv", mixing, v)
    torch.testing.assert_close(read, linear_attention(q, k, v, normalise=True).output)


def without_erasure(q: Tensor, k: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    """The formula with the erase term dropped, as one known library has it."""
    c = log_decay.cumsum(1).transpose(1, 2)
    ratios = (c[..., :, None] - c[..., None, :]).tril().exp().tril()
    return torch.einsum("bihk,bjhk->bhij", q, k) * ratios * beta.transpose(1, 2)[..., None, :]


def test_dropping_the_erase_term_is_seen() -> None:
    recurrence = RECURRENCES["delta-decay"]
    inputs = recurrence.make(2, 40, 3, 8, 5, torch.float64, 5)
    wrong = without_erasure(inputs["q"], inputs["k"], inputs["beta"], inputs["log_decay"])
    read = torch.einsum("bhij,bjhv->bihv", wrong, inputs["v"])
    assert relative(read, recurrence.call(**inputs, implementation="reference").output) > 0.1


def test_keys_of_a_delta_rule_must_be_unit_vectors() -> None:
    x = torch.randn(1, 4, 1, 3)
    with pytest.raises(ValueError, match="unit keys"):
        effective_attention(x, 2 * x, beta=torch.ones(1, 4, 1))
