"""Kernels of infinite width against neural-tangents 0.6.5, whose values `neural_tangents_values.py` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from statescope.analyses.infinite_width.convolutional import ConvolutionalNetwork
from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.network import InfiniteNetwork, infinite_width_kernels
from statescope.analyses.infinite_width.nonlinearities import GELU, Erf, ReLU, Sine

STORED = json.loads(Path(__file__).with_name("neural_tangents_values.json").read_text())
FUNCTIONS = {"relu": ReLU(), "erf": Erf(), "gelu": GELU(), "sine": Sine()}
CASES = {f"{case['family']}, {case['function']}, {case['depth']}, {case.get('pooling')}": case for case in STORED["cases"]}


def network(case: dict[str, Any]) -> InfiniteNetwork:
    common = {"depth": case["depth"], "nonlinearity": FUNCTIONS[case["function"]], "weight_variance": case["weight"]}
    if case["family"] == "dense":
        return DenseNetwork(**common, bias_variance=case["bias"])
    return ConvolutionalNetwork(**common, kernel_size=3, pooling=case["pooling"])


def numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_of_neural_tangents(name: str) -> None:
    case = CASES[name]
    found = infinite_width_kernels(network(case), *map(numbers, STORED["inputs"][case["family"]]))
    for own, theirs in ((found.nngp, case["nngp"]), (found.ntk, case["ntk"])):
        torch.testing.assert_close(own, numbers(theirs), rtol=1e-10, atol=1e-12)


def test_what_is_stored_tells_settings_apart() -> None:
    """Pooling, depth and the biases' variance move the kernels by far more than the tolerance."""
    stored = {name: numbers(case["ntk"]) for name, case in CASES.items()}
    pooled, unpooled = (stored[f"convolutional, relu, 3, {pooling}"] for pooling in (True, False))
    assert (pooled - unpooled).abs().max() > 1e-2
    case = CASES["dense, relu, 3, None"]
    without = infinite_width_kernels(network(case | {"bias": 0.0}), *map(numbers, STORED["inputs"]["dense"]))
    assert (without.ntk - numbers(case["ntk"])).abs().max() > 1e-2
    shallower = infinite_width_kernels(network(case | {"depth": 2}), *map(numbers, STORED["inputs"]["dense"]))
    assert (shallower.ntk - numbers(case["ntk"])).abs().max() > 1e-2
