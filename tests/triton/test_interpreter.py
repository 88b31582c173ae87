"""Runs interpreted.py where Triton interprets its kernels: that is decided before Triton is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recurrences import RECURRENCES

pytest.importorskip("triton")


def test_the_kernels_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", str(Path(__file__).with_name("interpreted.py"))]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_without_a_gpu_they_are_refused_and_auto_takes_the_twin() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    inputs = RECURRENCES["delta-decay"].make(1, 5, 1, 4, 3, torch.float32, 0)
    with pytest.raises(ValueError, match=r"implementation='triton' needs tensors on an NVIDIA GPU, q is on cpu; .*'chunked'"):
        RECURRENCES["delta-decay"].call(**inputs, implementation="triton")
    assert RECURRENCES["delta-decay"].call(**inputs).implementation == "chunked"
