"""Settings of every test: one math thread, and no global random state that leaks from one test to another."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch

torch.set_num_threads(1)
torch.set_warn_always(True)  # a cast from complex to real is an error in every test, not in the first of a process alone


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
