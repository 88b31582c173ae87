"""Speed and memory of tangent kernels against torch.func's Jacobians, after both agree in float64. `make bench` prints it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from memory import max_rss_mib, peak_mib
from torch import Tensor
from torch.nn.functional import cross_entropy

from statescope import DeltaNet, GatedDeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.operators.lanczos import top_eigenpairs

pytestmark = pytest.mark.benchmark

SAMPLES, TOKENS, OUTPUTS = 16, 64, 32


def seconds(call: Callable[[], object]) -> float:
    """Processor time, which other work on the machine moves less than the clock's."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def problem(samples: int = SAMPLES) -> tuple[Model, Tensor]:
    torch.set_num_threads(1)
    model = Model(ModelConfig(vocabulary=OUTPUTS, width=128, layers=2, mixer=GatedDeltaNet(heads=4), seed=0)).eval()
    return model, torch.randint(0, OUTPUTS, (samples, TOKENS), generator=torch.Generator().manual_seed(0))


def test_the_structured_engine_against_whole_jacobians() -> None:
    """A 2-layer Gated DeltaNet of width 128, 64 tokens, the trace over 32 outputs."""
    model, x = problem()
    structured, whole = (lambda method=method: empirical_ntk(model, x, method=method) for method in ("structured", "jacobian"))
    found, exact = structured(), whole()
    assert (found - exact).norm() <= 1e-10 * exact.norm()
    ratio = min(seconds(whole) for _ in range(2)) / min(seconds(structured) for _ in range(2))
    least = peak_mib(structured) / peak_mib(whole)
    said = f"{ratio:.2f} times as fast as whole Jacobians (10), at {least:.3f} of the memory that torch allots"
    print(f"\n{SAMPLES} samples: structured is {said}")
    assert least < 0.15


def test_the_resident_memory_of_many_samples() -> None:
    """The named size: 64 samples, each engine in a process of its own, which holds torch and the model besides."""
    held = {
        method: max_rss_mib(Path(__file__), f"model, x = problem(64); empirical_ntk(model, x, method={method!r})")
        for method in ("structured", "jacobian")
    }
    share = held["structured"] / held["jacobian"]
    print(f"\n64 samples: {held['structured']:.0f} of {held['jacobian']:.0f} MiB, {share:.3f} (at most 0.1)")


def test_a_product_with_a_vector_against_training_steps() -> None:
    """One scalar a sample, in passes forward and backward of the same model in float64."""
    model, x = problem()
    model.double()
    read = lambda logits: logits[:, -1, :1]  # noqa: E731
    operator = TangentKernelOperator(model, x, read=read)
    v = torch.ones(SAMPLES, dtype=torch.float64)
    exact = empirical_ntk(model, x, read=read) @ v
    assert (operator.matvec(v) - exact).norm() <= 1e-10 * exact.norm()

    def step() -> None:
        cross_entropy(model(x)[:, -1], x[:, 0]).backward()

    def first() -> None:
        TangentKernelOperator(model, x, read=read, tile=SAMPLES // 2).matvec(v)

    of_step = min(seconds(step) for _ in range(5))
    again = min(seconds(lambda: operator.matvec(v)) for _ in range(5)) / of_step
    tiled = min(seconds(first) for _ in range(3)) / of_step
    print(f"\na product is {again:.2f} passes forward and backward, {tiled:.2f} with checks and in tiles (at most 5)")


def test_the_largest_eigenvalues_of_many_samples() -> None:
    """The 20 largest of 5,000 samples, without the matrix: a DeltaNet of width 32, 12 tokens."""
    torch.set_num_threads(1)
    model = Model(ModelConfig(vocabulary=16, width=32, layers=1, mixer=DeltaNet(heads=2), seed=0)).eval()
    x = torch.randint(0, 16, (5000, 12), generator=torch.Generator().manual_seed(0))
    begin = time.process_time()
    operator = TangentKernelOperator(model, x, output=0)
    made = time.process_time() - begin
    for block in (1, 8):
        begin = time.process_time()
        found = top_eigenpairs(operator, 20, torch.Generator().manual_seed(0), tolerance=1e-6, block=block)
        taken = time.process_time() - begin
        assert (found.residuals <= 1e-5 * found.values[0]).all()
        said = f"{found.applications} products, {taken:.0f} s of one processor beside {made:.0f} s of the pass (at most 180)"
        print(f"\n20 eigenpairs of 5,000 samples, {block} at once: {said}")
