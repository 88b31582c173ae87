"""Settings of every test: one math thread, and no global random state that leaks from one test to another."""

from __future__ import annotations

import os
from collections.abc import Iterator

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
from no_figures import no_figures

from statescope.probe.plugins import Kinds

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


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Runs draw no figures in a test."""
    with no_figures():
        yield


@pytest.fixture(scope="module")
def all_undrawn() -> Iterator[None]:
    """The same for every test of a file, and the runs that they share."""
    with no_figures():
        yield


@pytest.fixture(autouse=True, scope="module")
def _parts_of_one_file() -> Iterator[None]:
    """Parts that tests declare end with their file: others may use the names again."""
    before = {family: dict(family.known) for family in _families()}
    yield
    for family in _families():
        for kind, own in list(family.known.items()):
            if kind not in before.get(family, {}) and not own.__module__.startswith("statescope."):
                del family.known[kind]


def _families() -> list[type[Kinds]]:
    return [family for family in Kinds.__subclasses__() if hasattr(family, "known")]
