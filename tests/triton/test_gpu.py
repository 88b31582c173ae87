"""The kernels on a GPU: every configuration of the table against the token loop in float64, and runs that agree to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope import cell_scan, diagonal_scan
from statescope.kernels.cell_scan import CELLS
from statescope.kernels.chunked import vector_gram as chunked
from statescope.kernels.chunked.vector_gram import Gram
from statescope.kernels.triton import configurations, launch, launch_gram, vector_gram

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]

Table = dict[int, tuple[configurations.Configuration, ...]]
TOLERANCES = {"exact": (1e-4, 1e-3), "fast": (1e-2, 3e-2)}  # of results and of gradients
PASS = ("gated", "bonus", "delta-by-channel", "low-rank", "gated-20")  # a decay for each channel
SCALAR = ("linear", "linear-decay", "mlstm", "delta", "delta-decay", "delta-product", "delta-correlated")  # one decay, or none
SCALAR_TABLES = (
    configurations.SCALAR_PRODUCTS,
    configurations.SCALAR_FORWARD,
    configurations.SCALAR_BACKWARD,
    configurations.SCALAR_PRODUCT_GRADIENTS,
    configurations.SCALAR_TOKEN_GRADIENTS,
)


def results(name: str, implementation: str, dtype: torch.dtype, size: int, **how: Any) -> list[Tensor]:
    """Outputs, tapped and final states, and every gradient, on the GPU."""
    recurrence = RECURRENCES[name]
    made = recurrence.make(2, 200, 2, size, size, torch.float64, 0)
    inputs = {key: x.to("cuda", dtype).requires_grad_() for key, x in made.items()}
    out = recurrence.call(**inputs, taps=[0, 63, 130, 199], implementation=implementation, **how)
    generator = torch.Generator().manual_seed(1)
    found = [out.output, out.states, out.final_state]
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to("cuda", x.dtype) for x in found]
    loss = sum((x * weight).sum() for x, weight in zip(found, weights, strict=True))
    return [*found, *torch.autograd.grad(loss, list(inputs.values()))]


def check(name: str, precision: str, tables: Sequence[Table], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each configuration of each table, with the defaults of the others, for keys that fill it and keys that do not."""
    stored = configurations.STORED_BYTES[precision]
    for size in (24, configurations.LARGEST_KEY[stored]):
        truth = results(name, "reference", torch.float64, size)
        for table, chunk in product(tables, (16, 64)):
            for configuration in table[stored]:
                with monkeypatch.context() as patch:
                    patch.setitem(table, stored, (configuration,))
                    found = results(name, "triton", torch.float32, size, precision=precision, chunk=chunk)
                for index, (exact, own) in enumerate(zip(truth, found, strict=True)):
                    tolerance = TOLERANCES[precision][index >= 3]
                    assert relative(own, exact) <= tolerance, (configuration, size, index)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", PASS)
def test_every_configuration_of_the_pass(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, precision, [configurations.PASS], monkeypatch)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", SCALAR)
def test_every_configuration_of_one_decay(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, precision, SCALAR_TABLES, monkeypatch)


@pytest.mark.parametrize("vectors", [(1, 1), (2, 1), (2, 2)])
def test_every_configuration_of_the_gram(vectors: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made = (torch.randn(20, 50, count, 70, dtype=torch.float64, device="cuda") for count in vectors)
    leaves = [*made, -10 * torch.rand(20, 50, 70, dtype=torch.float64, device="cuda")]
    weights = torch.randn(20, 50 * vectors[0], 50 * vectors[1], dtype=torch.float64, device="cuda")

    def run(call: Gram, dtype: torch.dtype) -> list[Tensor]:
        own = [x.to(dtype).requires_grad_() for x in leaves]
        gram = call(*own)
        return [gram, *torch.autograd.grad((gram * weights.to(dtype)).sum(), own)]

    truth = run(chunked.vector_gram, torch.float64)
    for name, table in (("GRAM", configurations.GRAM), ("GRAM_BACKWARD", configurations.GRAM_BACKWARD)):
        for configuration in table:
            monkeypatch.setattr(launch_gram, name, (configuration,))
            for exact, own in zip(truth, run(vector_gram.vector_gram, torch.float32), strict=True):
                assert relative(own, exact) <= 1e-4, configuration


@pytest.mark.parametrize("size", [16, 33, 64])
def test_every_configuration_of_the_inverse(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lower = (0.3 * torch.randn(50, size, size, dtype=torch.float64)).tril(-1).cuda()
    truth = torch.linalg.inv(lower + torch.eye(size, dtype=torch.float64, device="cuda"))
    for configuration in configurations.INVERSE:
        monkeypatch.setattr(launch, "INVERSE", (configuration,))
        assert relative(launch.launch_inverse(lower.float()), truth) <= 1e-4


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_every_configuration_of_the_scan(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (3, 777, 2, 50)
    x = torch.randn(shape, dtype=torch.complex128 if kind == "complex" else torch.float64, device="cuda")
    decay = torch.rand(shape, dtype=torch.float64, device="cuda").to(x.dtype)
    truth = diagonal_scan(x, decay, implementation="reference").output
    narrow = torch.complex64 if kind == "complex" else torch.float32
    for configuration in configurations.SCAN:
        monkeypatch.setattr(launch, "SCAN", (configuration,))
        assert relative(diagonal_scan(x.to(narrow), decay.to(narrow), implementation="triton").output, truth) <= 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_every_configuration_of_the_cells(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = len(CELLS[cell].gates)
    for channels, table in configurations.CELL.items():
        leaves = [
            torch.randn(20, 100, 3, gates, channels, dtype=torch.float64, device="cuda"),
            torch.randn(3, gates, channels, channels, dtype=torch.float64, device="cuda") / channels**0.5,
            torch.randn(3, gates, channels, dtype=torch.float64, device="cuda"),
        ]

        def run(implementation: str, dtype: torch.dtype, leaves: list[Tensor] = leaves) -> list[Tensor]:
            own = [x.to(dtype).requires_grad_() for x in leaves]
            out = cell_scan(cell, *own, taps=[50], implementation=implementation)
            return [out.output, out.states, *torch.autograd.grad(out.output.square().sum(), own)]

        truth = run("reference", torch.float64)
        for configuration in table:
            monkeypatch.setitem(launch.CELL, channels, (configuration,))
            for exact, own in zip(truth, run("triton", torch.float32), strict=True):
                assert relative(own, exact) <= 1e-3


@pytest.mark.parametrize("name", ["linear-decay", "gated", "delta-decay", "low-rank"])
def test_a_hundred_runs_agree_to_the_bit(name: str) -> None:
    first = results(name, "triton", torch.float32, 64)
    for _ in range(99):
        assert all(torch.equal(one, other) for one, other in zip(first, results(name, "triton", torch.float32, 64), strict=True))
