"""Write `neural_tangents_values.json`: kernels of networks of infinite width by neural-tangents, which nobody here wrote.

It runs in an environment of its own, since neural-tangents needs an old jax:

    python -m venv oracle && oracle/bin/pip install neural-tangents==0.6.5 jax==0.4.30 jaxlib==0.4.30 'numpy<2' 'scipy<1.14'
    oracle/bin/python tests/oracles/neural_tangents_values.py

Inputs are drawn here and stored beside the values. All is float64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

sys.modules["neural_tangents.experimental"] = ModuleType("neural_tangents.experimental")  # it asks for TensorFlow

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)  # before neural-tangents makes an array

from neural_tangents import stax

FUNCTIONS = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu, "sine": lambda: stax.Sin(c=0.0)}


def dense(function: str, depth: int, weight: float, bias: float):
    layers = [layer for _ in range(depth) for layer in (stax.Dense(1, weight**0.5, bias**0.5), FUNCTIONS[function]())]
    return stax.serial(*layers, stax.Dense(1, weight**0.5, bias**0.5))


def convolutional(function: str, depth: int, weight: float, pooling: bool):
    layers = []
    for _ in range(depth):
        layers += [stax.Conv(1, (3,), padding="CIRCULAR", W_std=weight**0.5, b_std=None), FUNCTIONS[function]()]
    read = [stax.GlobalAvgPool()] if pooling else [stax.Flatten()]
    return stax.serial(*layers, *read, stax.Dense(1, 1.0, None))


def kernels(network, first: np.ndarray, second: np.ndarray) -> dict[str, list]:
    *_, kernel = network
    found = kernel(first, second, ("nngp", "ntk"))
    return {"nngp": np.asarray(found.nngp, np.float64).tolist(), "ntk": np.asarray(found.ntk, np.float64).tolist()}


def main() -> None:
    draw = np.random.default_rng(0)
    vectors = [draw.standard_normal((count, 6)) for count in (4, 3)]
    sequences = [draw.standard_normal((count, 7, 3)) for count in (3, 2)]
    cases = []
    for function, depth, weight, bias in [
        ("relu", 1, 2.0, 0.0),
        ("relu", 3, 2.0, 0.1),
        ("erf", 1, 1.5, 0.0),
        ("erf", 3, 1.3, 0.2),
        ("gelu", 2, 1.6, 0.1),
        ("sine", 2, 1.2, 0.1),
    ]:
        settings = {"family": "dense", "function": function, "depth": depth, "weight": weight, "bias": bias}
        cases.append(settings | kernels(dense(function, depth, weight, bias), *vectors))
    for function, depth, weight, pooling in [
        ("relu", 1, 2.0, True),
        ("relu", 3, 2.0, True),
        ("relu", 3, 2.0, False),
        ("erf", 2, 1.4, True),
        ("erf", 2, 1.4, False),
    ]:
        settings = {"family": "convolutional", "function": function, "depth": depth, "weight": weight, "pooling": pooling}
        cases.append(settings | kernels(convolutional(function, depth, weight, pooling), *sequences))
    inputs = {"dense": [x.tolist() for x in vectors], "convolutional": [x.tolist() for x in sequences]}
    Path(__file__).with_suffix(".json").write_text(json.dumps({"inputs": inputs, "cases": cases}))


if __name__ == "__main__":
    main()
