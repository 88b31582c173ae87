"""The kernels on a GPU: every configuration of the table against the token loop in float64, and runs that agree to the bit.

`make gpu` runs the same checks where there is no pytest.
"""

from __future__ import annotations

import pytest
import torch
from gpu_checks import GPU, configuration_checks, default_checks, repetition_checks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]

CHECKS = default_checks(GPU) | configuration_checks(GPU) | {f"runs, {name}": run for name, run in repetition_checks(GPU).items()}


@pytest.mark.parametrize("name", CHECKS)
def test_on_a_gpu(name: str) -> None:
    assert not [row for row in CHECKS[name](GPU) if not row.holds]
