"""The atlas: each claim that stands on equations holds when it is measured, and fails where an equation is changed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from statescope import Training
from statescope.analyses.atlas import p001, p004, p128, p155
from statescope.analyses.atlas.claim import TITLES, claim_of, claims_of
from statescope.analyses.atlas.findings import Curves, Numbers, PaperStudy
from statescope.analyses.studies.comparison import Comparison
from statescope.analyses.studies.linearization import LinearizationStudy
from statescope.kernels.recurrence import RecurrenceOutput
from statescope.probe.statistics.scores import ProbeScores

OF_EQUATIONS = sorted(number for number in TITLES if isinstance(claim_of(number).study(), PaperStudy))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atlas")


@pytest.mark.parametrize("number", OF_EQUATIONS)
def test_a_claim_holds(number: str, runs: Path) -> None:
    claim = claim_of(number)
    run = claim.study().run(runs / number)
    measured = claim.measure(run)
    assert measured
    failed = [(m.what, m.relation, m.expected, found) for m, found, verdict in measured if verdict == "fails"]
    assert not [failure for failure in failed if "time" not in failure[0]], failed  # a timing decides no test
    for name in run.result_names:
        result = run.result(name)
        assert isinstance(result, Numbers | Curves)
        assert result.summary() and result.figure().to_plotly().data
    assert run.problems() == []


def test_there_is_a_claim_for_each_title() -> None:
    for number in TITLES:
        claim = claim_of(number)
        assert claim.number == number and claim.measurements and claim.statement
    assert len(OF_EQUATIONS) >= 11


def test_a_number_that_was_not_measured_is_named(tmp_path: Path) -> None:
    numbers = PaperStudy(paper="P155").run(tmp_path / "run").result("numbers")
    assert isinstance(numbers, Numbers)
    with pytest.raises(KeyError, match="'nonsense' was not measured; measured were phi"):
        numbers.at("nonsense")


def test_the_linearization_study_and_its_three_claims(tmp_path: Path) -> None:
    """At a tenth of its size: every number is there, and what is exact holds."""
    short = Training(steps=60, batch=16, length=24)
    sizes = {"width": 32, "transfer_steps": 20, "sequences": 64, "probed": 256}
    study = LinearizationStudy(training=short, fine_tuning=replace(short, steps=10), **sizes)
    run = study.run(tmp_path / "run")
    for number in ("P005", "P017", "P089"):
        assert all(math.isfinite(value) for _, value, _ in claim_of(number).measure(run))
    verdicts = {m.what: verdict for n in ("P005", "P089") for m, _, verdict in claim_of(n).measure(run)}
    assert verdicts["gla: parameters added"] == "holds"
    assert verdicts["mamba without decay and step 1, against linear attention"] == "holds"
    content = run.result("probes")
    assert isinstance(content, ProbeScores)
    assert set(content.table["model"]) == {"softmax", "hedgehog", "gla", "mamba"}
    cache = content.table[(content.table["site"] == "keys_and_values") & (content.table["layer"] == 0)]
    assert cache["accuracy"].item() > 0.9  # the value is there, in as many words
    assert run.problems() == []


def test_claims_on_trained_models_can_be_measured(tmp_path: Path) -> None:
    """At a few steps the models must fail their claims, and the verdicts say so."""
    trained = [claim for number in TITLES for claim in claims_of(number)[1:]]
    assert {claim.number for claim in trained} >= {"P153", "P375"}
    for claim in trained:
        study = claim.study()
        assert isinstance(study, Comparison)
        short = replace(study, training=replace(study.training, steps=2, batch=4), width=16, sequences=4)
        measured = claim.measure(short.run(tmp_path / study.name))
        assert {verdict for _, _, verdict in measured} >= {"fails"}


def test_a_run_of_a_claim_goes_on_by_its_folder(tmp_path: Path) -> None:
    from statescope.app.study_arguments import study_of_run

    for study in (PaperStudy(paper="P155"), claims_of("P375")[1].study()):
        short = replace(study, training=Training(steps=1, batch=2), sequences=2) if isinstance(study, Comparison) else study
        assert study_of_run(short.run(tmp_path / short.run_name).path) == short


def without_decay(call: Any) -> Any:
    def wrong(q: Any, k: Any, v: Any, gate: Any, *rest: Any, **how: Any) -> RecurrenceOutput:
        return call(q, k, v, gate if how.get("implementation") == "reference" else 0.9 * gate, *rest, **how)

    return wrong


def half_erased(call: Any) -> Any:
    return lambda q, k, v, beta, **how: call(q, k, v, 0.5 * beta, **how)


@pytest.mark.parametrize(
    ("module", "name", "wrong", "what"),
    [
        (p001, "delta_rule", half_erased, "delta rule: recall error after overwriting them"),
        (p004, "gated_linear_attention", without_decay, "chunked against token loop, gates sigma(x)^(1/16)"),
        (p128, "gate_loop", without_decay, "chunked in float32 against the token loop"),
        (p155, "taylor", lambda phi: lambda x: phi(1.1 * x), "phi(q) . phi(k) in float32 against 1 + s + s^2 / 2"),
    ],
)
def test_a_wrong_equation_fails_its_claim(
    module: Any, name: str, wrong: Any, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, name, wrong(getattr(module, name)))
    torch.manual_seed(0)
    run = module.CLAIM.study().run(tmp_path / "run")
    verdicts = {measurement.what: verdict for measurement, _, verdict in module.CLAIM.measure(run)}
    assert verdicts[what] == "fails"
