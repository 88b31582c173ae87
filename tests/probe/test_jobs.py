"""Work that has a name: functions and inputs that another process finds; several results at once; several seeds in one run."""

from __future__ import annotations

import json
import math
import multiprocessing
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from statescope import DeltaNet, Model, ModelConfig, Parity, Run, Study, Training, generator_for
from statescope.analyses.behaviour.accuracy_by_length import accuracy_by_length
from statescope.analyses.behaviour.results.training_curve import TrainingCurve
from statescope.probe.captures.capture import Capture
from statescope.probe.configuration import BadSettingError, Count
from statescope.probe.results.figure import Bars, Figure, Line, Panel, Points
from statescope.probe.results.over_seeds import OverSeeds, over_seeds
from statescope.probe.results.result import Result
from statescope.probe.runs.checkpoint_file import Progress
from statescope.probe.runs.job import (
    Job,
    StoredCapture,
    StoredHistory,
    StoredModel,
    StoredResult,
    UnnamedWorkError,
    WrongResultsError,
)
from statescope.probe.runs.seeds import Seeds, WorkerError
from statescope.probe.runs.worker import do_in

pytestmark = pytest.mark.usefixtures("all_undrawn")


@dataclass(frozen=True)
class Table(Result, kind="jobs_table"):
    columns: ClassVar[dict[str, str]] = {"model": "name", "x": "where", "y": "a number"}

    def summary(self) -> str:
        return f"sum {self.table['y'].sum():.3f}"

    def specification(self) -> Figure:
        lines = [Line(own["x"].to_numpy(), own["y"].to_numpy(), str(name)) for name, own in self.table.groupby("model")]
        bars = Bars(["sum"], np.array([self.table["y"].sum()]), "sum")
        cloud = Points(self.table["y"].to_numpy(), self.table["y"].to_numpy(), "cloud")
        level = Line(np.array([0.0, 2.0]), np.array([1.0, 1.0]), "level", dashed=True)
        return Figure("Table", [Panel([*lines, level], "x", "y", y_range=(0, 1)), Panel([bars, cloud], "", "")])


CALLS: list[str] = []


def weights(models: Mapping[str, Model], scale: float = 1.0) -> Table:
    CALLS.append("weights")
    rows = [
        (name, index, scale * float(p.detach().norm())) for name, m in models.items() for index, p in enumerate(m.parameters())
    ]
    return Table(pd.DataFrame(rows, columns=["model", "x", "y"]))


def two(histories: Mapping[str, Progress], held: Capture, before: Table) -> dict[str, Result]:
    CALLS.append("two")
    first = pd.DataFrame({"model": list(histories), "x": 0, "y": [history.losses[-1] for history in histories.values()]})
    size = float(held.features("blocks.0.hook_resid_post").norm())
    return {"first": Table(first), "second": Table(before.table.assign(y=before.table["y"] * size))}


def renamed(**given: Any) -> dict[str, Result]:
    found = two(**given)
    return {"f": found["first"], "s": found["second"]}


def three(one: int) -> dict[str, Result]:
    return {"a": Table(pd.DataFrame({"model": ["m"], "x": [one], "y": [1.0]}))}


@dataclass(frozen=True)
class Small(Study, kind="jobs_small"):
    widths: tuple[Count, ...] = (8, 12)
    fails_at: int = -1

    def models(self) -> dict[str, ModelConfig]:
        return {f"width{width}": ModelConfig(2, width, 1, DeltaNet(heads=2), seed=self.seed) for width in self.widths}

    def execute(self, run: Run) -> None:
        if self.seed == self.fails_at:
            raise BadSettingError("this seed is not to be had")
        training = Training(steps=3, batch=2, length=6, checkpoint_every=2)
        trained = {label: run.train(label, config, Parity(), training, self.seed) for label, config in self.models().items()}
        models = {label: model for label, (model, _) in trained.items()}
        histories = {label: history for label, (_, history) in trained.items()}
        table = run.compute("weights", weights, models=models)
        batch = Parity().batch(8, 6, "test", generator_for(self.seed, 1))
        held = run.capture("held", models["width8"], [batch], ["blocks.0.hook_resid_post"], [2, 5])
        run.compute(("first", "second"), two, histories=histories, held=held, before=table)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute("own", self.own, models=models)
        run.compute("accuracy", accuracy_by_length, models=models, task=Parity(), lengths=(4, 8), sequences=8, seed=self.seed)

    def own(self, models: Mapping[str, Model]) -> Table:
        return weights(models, scale=len(self.widths))


NAMES = ["accuracy", "first", "own", "second", "training", "weights"]


def tables(run: Run) -> dict[str, str]:
    return {name: run.result(name).table.to_json() for name in run.result_names}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Small().run(tmp_path_factory.mktemp("made") / "run").path


# Several results from one function, and nothing twice


def test_one_function_gives_several_results_once(tmp_path: Path) -> None:
    CALLS.clear()
    run = Small().run(tmp_path / "run")
    assert sorted(run.result_names) == NAMES
    assert CALLS == ["weights", "two", "weights"]
    Small().run(tmp_path / "run")
    assert CALLS == ["weights", "two", "weights"]
    (tmp_path / "run" / "results" / "second.parquet").unlink()
    before = (tmp_path / "run" / "results" / "first.parquet").stat().st_mtime_ns
    again = Small().run(tmp_path / "run")
    assert CALLS == ["weights", "two", "weights", "two"]
    assert (tmp_path / "run" / "results" / "first.parquet").stat().st_mtime_ns == before
    assert tables(again) == tables(run) and again.problems() == []


def test_a_function_that_gives_other_results_is_refused(tmp_path: Path) -> None:
    with Run.working(tmp_path, "s", {}, 0) as run:
        with pytest.raises(WrongResultsError, match=r"three gave the results \['a'\], and not \['a', 'b'\]"):
            run.compute(("a", "b"), three, one=1)
        assert run.compute(("a",), three, one=1)["a"].summary() == "sum 1.000"


# Names


def test_what_has_no_name_is_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch

    def inside(one: int) -> Table:
        return weights({})

    with Run.working(tmp_path, "s", {}, 0) as run:
        for function in (inside, lambda one: weights({}), weights.__call__):
            with pytest.raises(UnnamedWorkError, match="cannot be found by its name: give a function that stands in a module"):
                run.compute("a", function, one=1)
        stranger = Model(ModelConfig(2, 8, 1, DeltaNet(heads=2)))
        for value, kind in ((stranger, "Model"), (torch.ones(2), "Tensor"), (np.ones(2), "ndarray"), (object(), "object")):
            with pytest.raises(UnnamedWorkError, match=rf"the input models\['m'\]\[0\] is a {kind} that this run does not know"):
                run.compute("a", weights, models={"m": [value]})
        assert run.result_names == []


def test_a_model_of_another_run_is_not_this_ones(made: Path, tmp_path: Path) -> None:
    with Run.working(tmp_path, "s", {}, 0) as run, Run.working(made, "jobs_small", Run(made).manifest.configuration, 0) as other:
        model, _ = other.train("width8", Small().models()["width8"], Parity(), Training(steps=3, batch=2, length=6), 0)
        with pytest.raises(UnnamedWorkError, match="is a Model that this run does not know"):
            run.compute("a", weights, models={"m": model})


def job_of(names: tuple[str, ...], function: Any, **inputs: Any) -> Job:
    return Job.of(names, function, inputs, lambda thing: None)


def test_a_job_is_a_few_names_and_settings() -> None:
    config = Small().models()["width8"]
    job = job_of(("own",), Small().own, models={"m": StoredModel("width8", config)})
    assert job.function == "Small.own"
    assert job.inputs == {"self": Small(), "models": {"m": StoredModel("width8", config)}}


# Elsewhere


@pytest.mark.parametrize("fresh", [False, True])
def test_another_process_does_the_same_job_with_the_same_numbers(
    made: Path, tmp_path: Path, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds models, losses, captures and results by their names in the run's folder."""
    import shutil

    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # pytest names this file tests.probe.test_jobs: so must the process
    shutil.copytree(made, tmp_path / "run")
    configs = Small().models()
    histories = {label: StoredHistory(label) for label in configs}
    jobs = [
        job_of(("f", "s"), renamed, histories=histories, held=StoredCapture("held"), before=StoredResult("weights")),
        job_of(("w",), weights, models={label: StoredModel(label, config) for label, config in configs.items()}),
        job_of(("t",), TrainingCurve.of, histories=histories),
    ]
    with Run.working(tmp_path / "run", "jobs_small", Run(made).manifest.configuration, 0) as run:
        for job in jobs:
            if fresh:
                process = multiprocessing.get_context("spawn").Process(target=do_in, args=(tmp_path / "run", job))
                process.start()
                process.join(60)
                assert process.exitcode == 0
            else:
                run.perform(job)
        run.ledger.merge()
        assert run.result("w").table.equals(run.result("weights").table)
        assert run.result("f").table.equals(run.result("first").table)
        assert run.result("s").table.equals(run.result("second").table)
        assert run.result("t").table.equals(run.result("training").table)
        assert run.problems() == []


def test_an_executor_may_send_every_job_elsewhere(made: Path, tmp_path: Path) -> None:
    sent: list[Job] = []

    def elsewhere(run: Run, job: Job) -> None:
        sent.append(job)
        do_in(run.path, job, run.prefix)

    with Run.working(tmp_path / "run", "jobs_small", Run(made).manifest.configuration, 0) as run:
        run.executor = elsewhere
        Small().execute(run)
    assert [job.names for job in sent] == [("weights",), ("first", "second"), ("training",), ("own",), ("accuracy",)]
    assert tables(Run(tmp_path / "run")) == tables(Run(made))


# Seeds


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Small().over((0, 1, 3)).run(tmp_path_factory.mktemp("seeded") / "run").path


def test_a_run_over_seeds_is_one_study_with_a_table_over_model_and_seed(made: Path, seeded: Path) -> None:
    run = Run(seeded)
    assert run.status == "finished" and run.problems() == []
    assert sorted(run.result_names) == NAMES
    joined = run.result("accuracy")
    assert isinstance(joined, OverSeeds)
    assert list(joined.table.columns[:2]) == ["seed", "model"]
    assert joined.seeds == [0, 1, 3]
    assert joined.selectors["model"] == ["width8", "width12"]
    alone = Run(made).result("accuracy")
    assert joined.of_seed(0).table.equals(alone.table)
    assert joined.value("accuracy", seed=0, model="width8", length=4) == alone.value("accuracy", model="width8", length=4)
    assert joined.select(seed=1).table["seed"].unique().tolist() == [1]
    assert joined.summary().splitlines()[0].startswith("seed 0: ")
    assert Result.load(seeded / "results" / "accuracy.parquet").specification().panels


def test_what_each_seed_makes_is_that_of_a_run_of_its_own(made: Path, seeded: Path, tmp_path: Path) -> None:
    other = Small(seed=3).run(tmp_path / "three")
    for part, alone in (("seed-0", Run(made)), ("seed-3", other)):
        assert tables(Run(seeded).part(part)) == tables(alone)
    assert tables(Run(made)) != tables(other)


def test_figures_show_mean_and_interval_over_seeds() -> None:
    own = {
        seed: Table(pd.DataFrame({"model": ["a", "a", "b"], "x": [0, 1, 0], "y": [seed, 2.0 * seed, 1.0]}), {"seed": seed})
        for seed in (1, 2, 6)
    }
    figure = over_seeds(own).specification()
    line, flat, level = figure.panels[0].marks
    assert isinstance(line, Line) and line.low is not None and line.high is not None
    np.testing.assert_allclose(line.y, [3.0, 6.0])
    deviation = math.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2)
    np.testing.assert_allclose(line.high - line.y, np.array([1, 2]) * 4.302652729911275 * deviation / math.sqrt(3))
    np.testing.assert_allclose(line.y - line.low, line.high - line.y)
    assert isinstance(flat, Line) and flat.low is not None and flat.low == flat.high == [1.0]
    assert isinstance(level, Line) and level.dashed and level.low is None
    bars, cloud = figure.panels[1].marks
    assert isinstance(bars, Bars) and bars.values.tolist() == [10.0]
    assert isinstance(cloud, Points) and cloud.x.tolist() == [1.0, 2.0, 1.0]
    assert figure.panels[0].y_range is None
    assert figure.caption == "mean and 95% interval over 3 seeds; points are of seed 1"
    assert over_seeds({5: own[1]}).specification().panels[0].marks[0].low is None  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="of one kind"):
        over_seeds({1: own[1], 2: over_seeds(own)})


def test_a_run_over_seeds_goes_on_where_it_stopped_and_names_what_is_wrong(tmp_path: Path) -> None:
    failing = Seeds(study=Small(fails_at=1), seeds=(0, 1))
    with pytest.raises(BadSettingError, match="this seed is not to be had"):
        failing.run(tmp_path / "run")
    assert sorted(Run(tmp_path / "run").part("seed-0").result_names) == NAMES
    with pytest.raises(ValueError, match="seeds are given twice"):
        Seeds(study=Small(), seeds=(1, 1))
    with pytest.raises(ValueError, match="needs a study"):
        Seeds()
    assert Small().over((0, 1, 2)).run_name == "jobs_small-seeds0-2"
    assert Small().over((0, 3, 4)).run_name == "jobs_small-seeds0-3-4"
    assert Small(widths=(8,)).over((0, 5)).run_name.startswith("jobs_small-seeds0-5-")


IN_WORKERS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
if __name__ == "__main__":
    from statescope.probe.plugins import import_file
    module = import_file(Path(sys.argv[2]) / "test_jobs.py")
    seeds = tuple(map(int, sys.argv[3].split(",")))
    try:
        module.Small(fails_at=int(sys.argv[4])).over(seeds).run(sys.argv[1], workers=2)
    except module.WorkerError as error:
        print(error)
        sys.exit(3)
"""


def in_workers(tmp_path: Path, seeds: str, fails_at: int = -1) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(IN_WORKERS)
    command = [sys.executable, str(script), str(tmp_path / "run"), str(Path(__file__).parent), seeds, str(fails_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_workers_give_the_same_numbers(seeded: Path, tmp_path: Path) -> None:
    """Here in the study of a file of one's own, which the workers have to import by its path."""
    working = in_workers(tmp_path, "0,1")
    _, errors = working.communicate(timeout=300)
    assert working.returncode == 0, errors
    run, whole = Run(tmp_path / "run"), Run(seeded)
    for seed in (0, 1):
        assert tables(run.part(f"seed-{seed}")) == tables(whole.part(f"seed-{seed}"))
    parts = ("checkpoints/seed-0", "checkpoints/seed-1")
    trained = {name: record for name, record in whole.manifest.files.items() if name.startswith(parts)}
    assert len(trained) == 4 and trained.items() <= run.manifest.files.items()
    assert run.problems() == [] and not list((tmp_path / "run" / "records").glob("*"))


def test_a_worker_that_fails_says_which_seed_and_why(tmp_path: Path) -> None:
    failing = in_workers(tmp_path, "1", fails_at=1)
    printed, errors = failing.communicate(timeout=120)
    assert (failing.returncode, printed) == (3, "seed 1: this seed is not to be had\n"), errors
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["outcome"] == "failed" and "seed 1" in manifest["error"]
    assert WorkerError.__name__ in manifest["error"]


def test_the_seed_of_a_study_over_seeds_is_its_own(seeded: Path) -> None:
    study = Small().over((0, 1, 3))
    assert study.split() == (Small(), (0, 1, 3))
    assert isinstance(study, Seeds) and study.of_seed(3) == replace(Small(), seed=3)
    assert Small().split() == (Small(), None)
