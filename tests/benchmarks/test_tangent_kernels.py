"""Speed and memory of tangent kernels against torch.func's Jacobians, after both agree in float64. `make bench` prints it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from memory import cost_alone, peak_mib
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.functional import cross_entropy

from statescope import DeltaNet, GatedDeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.infinite_width.convolutional import ConvolutionalNetwork
from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.network import infinite_width_kernels
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.operators.lanczos import top_eigenpairs

pytestmark = pytest.mark.benchmark

SAMPLES, TOKENS, OUTPUTS = 16, 64, 32
PATIENCE = 120  # seconds


def seconds(call: Callable[[], object]) -> float:
    """Processor time, which other work on the machine moves less than the clock's."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def problem(samples: int = SAMPLES) -> tuple[Model, Tensor]:
    torch.set_num_threads(1)
    model = Model(ModelConfig(vocabulary=OUTPUTS, width=128, layers=2, mixer=GatedDeltaNet(heads=4), seed=0)).eval()
    return model, torch.randint(0, OUTPUTS, (samples, TOKENS), generator=torch.Generator().manual_seed(0))


def contraction(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The kernel of the last token's outputs by the Jacobian contraction of PyTorch's tutorial on neural tangent kernels.

    It is what a user of torch.func writes: the Jacobian of each sample by `jacrev` under `vmap`, for each of both sets, and one
    einsum a parameter for the trace.
    """
    model.double()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def outputs(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        last: Tensor = functional_call(model, parameters, (sample[None],))[0, -1]
        return last

    each = [vmap(jacrev(outputs), (None, 0))(parameters, samples) for samples in (x, y)]
    pairs = [(each[0][name].flatten(2), each[1][name].flatten(2)) for name in parameters]
    return torch.stack([torch.einsum("Naf,Maf->NM", one, other) for one, other in pairs]).sum(0)


def test_the_structured_engine_against_whole_jacobians() -> None:
    """A 2-layer Gated DeltaNet of width 128, 64 tokens, the trace over 32 outputs.

    The tutorial's contraction takes a Jacobian for each side; ours by the engine `jacobian` takes one for both.
    """
    model, x = problem()
    calls: dict[str, Callable[[], Tensor]] = {
        "structured": lambda: empirical_ntk(model, x),
        "one Jacobian": lambda: empirical_ntk(model, x, method="jacobian"),
        "the tutorial": lambda: contraction(model, x, x),
    }
    exact = calls["the tutorial"]()
    for call in calls.values():
        assert (call() - exact).norm() <= 1e-10 * exact.norm()
    taken = {name: min(seconds(call) for _ in range(2)) for name, call in calls.items()}
    for name in ("one Jacobian", "the tutorial"):
        print(f"\n{SAMPLES} samples: structured is {taken[name] / taken['structured']:.2f} times as fast as {name} (10)")
    share = peak_mib(calls["structured"]) / peak_mib(calls["one Jacobian"])
    print(f"at {share:.3f} of what torch allots for one Jacobian (0.1)")
    assert share < 0.15


def test_many_samples_in_a_process_each() -> None:
    """Time and the maximum resident set at 64 samples, where one Jacobian needs 23 GiB and is refused."""
    module, before = Path(__file__), "model, x = problem(64)"
    idle = cost_alone(module, before, "pass")
    theirs = cost_alone(module, before, "contraction(model, x, x)")
    ours = [cost_alone(module, before, "empirical_ntk(model, x)") for _ in range(3)]
    print(f"\n64 samples, torch and the model hold {idle.mib:.0f} MiB; the tutorial {theirs.seconds:.1f} s, {theirs.mib:.0f} MiB")
    for own in ours:
        quicker, share = theirs.seconds / own.seconds, own.mib / theirs.mib
        print(f"structured {own.seconds:.1f} s, {quicker:.1f} times as fast (10); {own.mib:.0f} MiB, {share:.3f} of it (0.1)")
    assert max(own.mib for own in ours) < 0.15 * theirs.mib


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

    in_tiles = TangentKernelOperator(model, x, read=read, tile=SAMPLES // 2)
    in_tiles.matvec(v)  # which checks each tile
    of_step = min(seconds(step) for _ in range(5))
    again = min(seconds(lambda: operator.matvec(v)) for _ in range(5)) / of_step
    tiled = min(seconds(lambda: in_tiles.matvec(v)) for _ in range(3)) / of_step
    print(f"\na product is {again:.2f} passes forward and backward once passes are kept, {tiled:.2f} in tiles (at most 5)")


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


def network(case: dict[str, Any]) -> nn.Module:
    """The networks of `neural_tangents_times.py`, without biases; weights stand in torch's own parametrisation."""
    inputs, width, depth, outputs = case["inputs"][-1], case["width"], case["depth"], case["outputs"]
    sizes = [inputs, *[width] * depth]
    if case["family"] == "dense":
        layers = [layer for i in range(depth) for layer in (nn.Linear(sizes[i], sizes[i + 1], bias=False), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(width, outputs, bias=False))
    circular: dict[str, Any] = {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "bias": False}
    layers = [layer for i in range(depth) for layer in (nn.Conv1d(sizes[i], sizes[i + 1], **circular), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, outputs, bias=False))


def kernel_of(case: dict[str, Any]) -> Callable[[], object]:
    x = torch.randn(*case["inputs"], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if case["kernel"] == "analytic":
        made = {"dense": DenseNetwork, "convolutional": ConvolutionalNetwork}[case["family"]](depth=case["depth"])
        return lambda: infinite_width_kernels(made, x)
    model, x = network(case), x.mT if case["family"] == "convolutional" else x
    x = x.contiguous()
    exact = empirical_ntk(model, x[:8], method="jacobian")
    assert (empirical_ntk(model, x[:8]) - exact).norm() <= 1e-10 * exact.norm()
    return lambda: empirical_ntk(model, x)


def test_kernels_beside_neural_tangents() -> None:
    """Analytic and empirical kernels of networks of one size; theirs where NEURAL_TANGENTS_PYTHON names its interpreter."""
    torch.set_num_threads(1)
    interpreter = os.environ.get("NEURAL_TANGENTS_PYTHON")
    for name, case in json.loads(Path(__file__).with_name("tangent_cases.json").read_text()).items():
        call = kernel_of(case)
        ours = min(seconds(call) for _ in range(3))
        print(f"\n{name}: {1e3 * ours:.0f} ms{beside(ours, name, interpreter)}")


def beside(ours: float, name: str, interpreter: str | None) -> str:
    """What neural-tangents takes for a case, of the processor; it compiles some for longer than a benchmark can wait."""
    if interpreter is None:
        return ""
    one_thread = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "OMP_NUM_THREADS": "1"}
    command = [interpreter, str(Path(__file__).with_name("neural_tangents_times.py")), name]
    try:
        done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True, check=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f", neural-tangents is not done in {PATIENCE} s"
    theirs = float(json.loads(done.stdout.splitlines()[-1])[name])
    return f", neural-tangents {1e3 * theirs:.0f} ms, ratio {ours / theirs:.2f} (at most 1)"
