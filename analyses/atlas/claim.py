"""A claim: a sentence of a paper, as a study whose result is a verdict."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from ...probe.errors import StatescopeError, unknown_name
from ...probe.plugins import import_file
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ..studies.findings import Axes, Findings, Numbers, curves_of, numbers_of
from .catalogue import declared_claims, paper, papers
from .measurement import Measurement, Scope
from .stored import NAME
from .verdicts import Verdicts, verdicts_of

LEAST_SEEDS, TRIED_SEEDS = 3, 3


class TooFewSeedsError(StatescopeError, ValueError):
    """A verdict was asked for on so few seeds that it has no interval."""


class ChangedClaimError(StatescopeError, ValueError):
    """A run holds the verdicts of a claim that has been changed since."""


@dataclass(frozen=True)
class Claim(Study):
    """Base of the claims. A claim says what it expects in `measurements`, and measures it in `experiment`, once a seed:

        RECALLED = "recall error of 32 orthonormal pairs"

        class Recall(Claim, kind="p001-recall"):
            paper, scope = "P001", Scope.CONSTRUCTION
            statement = "A state recalls as many pairs as it has key channels."
            measurements = (at_most(RECALLED, 1e-12),)

            def experiment(self, seed: int, run: Run) -> Findings:
                return Findings({RECALLED: ...})

    An experiment calls the package, so that a fault of the mechanism it speaks of lets the verdict fall. Further fields are
    settings, such as the steps of a training; `small` is the same claim at a size that a test suite can pay.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    """A claim is measured once for each of these seeds, at least three; each draws its own numbers. A claim that was tried out on
    seeds 0 to 2, while its settings or thresholds were chosen, has others: see `fresh_seeds`."""

    paper: ClassVar[str]  # its number, or the reference of a paper that the atlas does not list; a literal, read unimported
    scope: ClassVar[Scope]
    statement: ClassVar[str]
    measurements: ClassVar[tuple[Measurement, ...]]
    panels: ClassVar[tuple[Axes, ...]] = ()  # of the curves that an experiment draws
    results: ClassVar[tuple[str, ...]] = ()  # names of further results that it gives
    note: ClassVar[str] = ""  # what of the paper is not measured, or a finding

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.question = getattr(cls, "statement", "")

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < LEAST_SEEDS:
            raise TooFewSeedsError(f"a verdict needs at least {LEAST_SEEDS} seeds, got {list(self.seeds)}")

    @abstractmethod
    def experiment(self, seed: int, run: Run) -> Findings:
        """Measure. run: the claim's own; studies that the experiment stands on run beside it, see `beside`."""

    def small(self) -> Self:
        """The same claim at a size for a test suite; itself, where it takes seconds as it is."""
        return self

    @property
    def run_name(self) -> str:
        """The kind, and a digest of the settings where they are not the default ones."""
        return super().run_name.replace(f"-seed{self.seed}", "", 1)

    def execute(self, run: Run) -> None:
        numbers = {seed: self._stored(seed, run) for seed in self.seeds}
        verdicts = run.compute(NAME, self._judge, numbers=numbers)
        if verdicts.measurements != [one.under(self.scope) for one in self.measurements]:
            raise ChangedClaimError(
                f"{run.path} holds verdicts on other numbers or thresholds than {self.kind} has now; delete it to measure again"
            )

    def _stored(self, seed: int, run: Run) -> Result:
        """The numbers of a seed, stored when they are found, so that a run that was interrupted goes on with the next."""
        drawn = seed == self.seeds[0]
        names = (f"seed{seed}", *((*self._curves, *self.results) if drawn else ()))
        return run.compute(names, self._measure, seed=seed, drawn=drawn, run=run)[f"seed{seed}"]

    @property
    def _curves(self) -> tuple[str, ...]:
        return ("curves",) if self.panels else ()

    def _measure(self, seed: int, drawn: bool, run: Run) -> dict[str, Result]:
        found = self.experiment(seed, run)
        units = {measurement.what: measurement.unit for measurement in self.measurements}
        numbers: dict[str, Result] = {f"seed{seed}": numbers_of(found.numbers, found.units | units)}
        if not drawn:
            return numbers
        curves = {name: curves_of(found.curves, self.panels) for name in self._curves}
        return numbers | curves | {name: found.results[name] for name in self.results}

    def _judge(self, numbers: dict[int, Numbers]) -> Verdicts:
        found = {seed: own.as_dict() for seed, own in numbers.items()}
        about = {"claim": self.kind, "paper": self.paper, "statement": self.statement, "note": self.note}
        return verdicts_of(self.measurements, found, self.scope, about)


def fresh_seeds(count: int) -> tuple[int, ...]:
    """Seeds from 3 on, for a claim that was tried out on seeds 0 to 2 while it was written: a threshold that was chosen on the
    numbers it judges says nothing. count: is chosen beforehand too, from how far those numbers lay apart.
    """
    return tuple(range(TRIED_SEEDS, TRIED_SEEDS + count))


def beside(run: Run, study: Study) -> Run:
    """The finished run of a study, in the folder beside a claim's run, where other claims and users find it too."""
    return study.run(run.path.parent / study.run_name, run.reporter)


def claims_in(source: str) -> tuple[type[Claim], ...]:
    """The claims of a paper by its number, or those that a Python file of the user's own makes.

    Raises UnknownNameError for a paper without claims, and for a file in which there are none.
    """
    path = Path(source)
    if path.suffix != ".py":
        return claims_of(source)
    found = classes_in(path)
    if not found:
        raise unknown_name("claim", source, ())
    return found


def classes_in(path: Path) -> tuple[type[Claim], ...]:
    """The claims that a Python file makes; the file is run."""
    if not path.is_file():
        raise unknown_name("file", str(path), ())
    module = import_file(path)
    return tuple(kind for kind in Claim.known.values() if kind.__module__ == module.__name__ and issubclass(kind, Claim))


def with_seeds(kind: type[Claim], seeds: tuple[int, ...] | None) -> Claim:
    """A claim with its own seeds, or with those given."""
    return kind() if seeds is None else replace(kind(), seeds=seeds)


def claims_of(number: str) -> tuple[type[Claim], ...]:
    """The claims of a paper, ours in the order in which their file makes them, then those of installed packages.

    Raises UnknownNameError where there are none.
    """
    wanted, declared = paper(number).number, declared_claims()
    if wanted not in declared:
        raise unknown_name("paper with claims", wanted, declared)
    return tuple(Claim.of_kind(declaration.kind) for declaration in declared[wanted])


def every_claim() -> tuple[type[Claim], ...]:
    """The claims of all papers, by the papers' numbers."""
    return tuple(claim for one in papers().values() if one.has_claims for claim in claims_of(one.number))
