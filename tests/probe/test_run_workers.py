"""Several processes write one run, and one of them its manifest."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from folder_learning import Learning

from statescope import Run

WORKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from folder_learning import loss
    from statescope import Run
    with Run.worker(sys.argv[1]) as run:
        for index in range(5):
            name = f"{sys.argv[2]}{index}"
            run.compute(name, loss, value=float(index))
    """
)


def work(run: Path, names: Sequence[str]) -> None:
    here = str(Path(__file__).parent)
    processes = [subprocess.Popen([sys.executable, "-c", WORKER, str(run), name, here]) for name in names]
    assert [process.wait(120) for process in processes] == [0] * len(processes)


def test_several_workers_write_one_run_and_one_process_merges_their_records(run: Path) -> None:
    with Run.working(run, "folder_learning", Run(run).manifest.configuration, 0) as writer:
        work(run, "ab")
        assert len(list((run / "records").glob("*.json"))) >= 20
        assert "a0" not in writer.result_names
        writer.ledger.merge()
        assert not list((run / "records").iterdir())
        assert {f"{name}{index}" for name in "ab" for index in range(5)} < set(writer.result_names)
    found = Run(run)
    assert found.result("b3").to_frame()["loss"].tolist() == [3.0]
    assert found.summary("a4") == "1 losses"
    assert found.problems() == []


def test_records_that_nobody_merged_are_taken_over_by_the_next_process(run: Path) -> None:
    work(run, "c")
    assert "c0" not in Run(run).result_names
    Learning().run(run)
    assert {f"c{index}" for index in range(5)} < set(Run(run).result_names)


def test_a_worker_is_refused_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"), Run.worker(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
