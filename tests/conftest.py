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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that ignores all warnings: it would outrank the errors that pyproject makes of casts from complex to real."""
    for item in items:
        if any("ignore" in mark.args for mark in item.iter_markers("filterwarnings")):
            raise pytest.UsageError(f"{item.nodeid} ignores every warning; name the message, as in 'ignore:message:UserWarning'")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
