"""Compiles the default configuration of every kernel for two architectures; `make kernels-check` compiles the whole table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).with_name("compile_kernels.py")
SCALAR = ("products", "forward", "backward", "product gradients", "token gradients")
OTHERS = ("channel gram", "channel gram backward", "inverse", "scan", "elman", "gru", "lstm", "slstm")
KERNELS = ("forward", "backward", *(f"scalar {name}" for name in SCALAR), *OTHERS)


def test_every_kernel_compiles_without_spilling() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, SCRIPT, "--default"], env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for arch in ("sm_80", "sm_90"):
        for kernel in KERNELS:
            assert any(line.startswith(f"{arch}  {kernel}") for line in lines), (arch, kernel)


def test_the_gate_rejects_a_kernel_that_spills() -> None:
    """Float32 terms with keys of 128 channels, which the launcher refuses for this reason."""
    code = f"""
import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})
from dataclasses import replace
import compile_kernels
case = next(c for c in compile_kernels.cases(True, 90) if c.types.get("query") == "*fp32")
larger = case.constants | {{"K": 128, "BLOCK_K": 128, "BLOCK_V": 64, "V": 128}}
line, wrong = compile_kernels.check(replace(case, constants=larger), 90)
print(line, wrong)
assert any("stack" in reason for reason in wrong), line
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
