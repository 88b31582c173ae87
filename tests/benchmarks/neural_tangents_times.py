"""Times of neural-tangents on cases of `test_tangent_kernels.py`, as JSON: in its own environment, one thread, float64.

    XLA_FLAGS='--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1' \\
        oracle/bin/python neural_tangents_times.py 'analytic, dense'

The environment is that of `tests/oracles/neural_tangents_values.py` with jax 0.4.23, which empirical kernels need. Compilation is
not counted, and of its implementations of an empirical kernel the quickest counts. Times are of the processor.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType

sys.modules["neural_tangents.experimental"] = ModuleType("neural_tangents.experimental")  # it asks for TensorFlow

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)  # before neural-tangents makes an array

import neural_tangents as nt
from neural_tangents import stax

IMPLEMENTATIONS = ("JACOBIAN_CONTRACTION", "STRUCTURED_DERIVATIVES")  # products with vectors take N^2 times the outputs of passes


def seconds(call) -> float:
    call()
    times = []
    for _ in range(3):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


def dense(width: int, depth: int, outputs: int):
    layers = [layer for _ in range(depth) for layer in (stax.Dense(width, 2**0.5, None), stax.Relu())]
    return stax.serial(*layers, stax.Dense(outputs, 2**0.5, None))


def convolutional(channels: int, depth: int, outputs: int):
    conv = (stax.Conv(channels, (3,), padding="CIRCULAR", W_std=2**0.5, b_std=None) for _ in range(depth))
    return stax.serial(
        *(layer for one in conv for layer in (one, stax.Relu())), stax.GlobalAvgPool(), stax.Dense(outputs, 1.0, None)
    )


def analytic(network, x: np.ndarray) -> float:
    kernel = jax.jit(lambda a: network[2](a, None, ("nngp", "ntk")).ntk)
    return seconds(lambda: kernel(x).block_until_ready())


def empirical(network, x: np.ndarray) -> dict[str, float]:
    start, apply, _ = network
    _, parameters = start(jax.random.PRNGKey(0), x.shape)
    parameters = jax.tree_util.tree_map(lambda value: value.astype(np.float64), parameters)
    found = {}
    for name in IMPLEMENTATIONS:
        way = getattr(nt.NtkImplementation, name)
        kernel = jax.jit(nt.empirical_ntk_fn(apply, trace_axes=(-1,), vmap_axes=0, implementation=way))
        found[name] = seconds(lambda kernel=kernel: kernel(x, None, parameters).block_until_ready())
    return found


def main() -> None:
    cases = json.loads(Path(__file__).with_name("tangent_cases.json").read_text())
    draw, found = np.random.default_rng(0), {}
    for name in sys.argv[1:] or cases:
        case = cases[name]
        make = {"dense": dense, "convolutional": convolutional}[case["family"]]
        network, x = make(case["width"], case["depth"], case["outputs"]), draw.standard_normal(case["inputs"])
        found[name] = analytic(network, x) if case["kernel"] == "analytic" else min(empirical(network, x).values())
        print(name, found[name], file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
