"""What is said of all states against the states themselves."""

from __future__ import annotations

import pytest
import torch
from recurrences import RECURRENCES, relative

from statescope.kernels.functionals import frobenius_norm, norm_by_gram, of_every_state, read_out

NAMES = ["linear-decay", "gated", "delta-decay", "delta-by-channel", "delta-product", "low-rank"]


@pytest.mark.parametrize("name", [*NAMES, "normalised", "mlstm", "mlstm-40"])
@pytest.mark.parametrize("chunk", [7, 32])
def test_norms_and_singular_values_of_every_state(name: str, chunk: int) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, 45, 2, 8, 5, torch.float64, 2)
    states = recurrence.call(**inputs, taps=tuple(range(45)), implementation="reference").states
    assert relative(of_every_state(recurrence.call, inputs, frobenius_norm, chunk=chunk), frobenius_norm(states)) < 1e-12
    found = of_every_state(recurrence.call, inputs, torch.linalg.svdvals, chunk=chunk)
    assert relative(found, torch.linalg.svdvals(states)) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_read_out(name: str) -> None:
    recurrence = RECURRENCES[name]
    inputs, direction = recurrence.make(2, 45, 2, 8, 5, torch.float64, 2), torch.randn(2, 8).double()
    states = recurrence.call(**inputs, taps=tuple(range(45)), implementation="reference").states
    assert relative(read_out(recurrence.call, inputs, direction), torch.einsum("hk,bthkv->bthv", direction, states)) < 1e-12


@pytest.mark.parametrize("name", ["linear", "linear-decay"])
def test_norms_from_gram_matrices(name: str) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, 45, 2, 8, 5, torch.float64, 2)
    states = recurrence.call(**inputs, taps=tuple(range(45)), implementation="reference").states
    found = norm_by_gram(inputs["k"], inputs["v"], inputs.get("log_decay"))
    assert relative(found, frobenius_norm(states)) < 1e-10
