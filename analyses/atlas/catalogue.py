"""The papers of the atlas, what is known of each, and where their claims are. Importing this imports no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...probe.declarations import Declaration, declarations
from ...probe.errors import unknown_name

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Paper:
    """A paper, with what the atlas knows of it.

    number: of a paper that only an installed package's claim names, the reference that the claim gives instead.
    name: what it is called in the field. room: which part of the workbench it concerns. set: "core" or "extended".
    claim: what it says, as the atlas would measure it. headline: what it is known for. Fields that are not known are empty.
    """

    number: str
    name: str
    title: str
    room: str
    set: str
    claim: str
    headline: str = ""
    authors: str = ""
    year: int | None = None
    arxiv: str = ""

    @property
    def reference(self) -> str:
        """Such as "Yang et al. 2024, arXiv:2406.06484"; the title where no more is known."""
        return f"{self.authors} {self.year}, arXiv:{self.arxiv}" if self.arxiv else self.title

    @property
    def has_claims(self) -> bool:
        """Whether a class statement, here or in an installed package, declares a claim of it."""
        return self.number in declared_claims()


def papers() -> dict[str, Paper]:
    """Every paper by its number, in the order of numbers; then those that only claims of installed packages name."""
    others = {number: _only_named(number, claims[0]) for number, claims in declared_claims().items() if number not in _listed()}
    return _listed() | others


def paper(number: str) -> Paper:
    """The paper of a number such as "P006" or "p006". Raises UnknownNameError with the nearest number."""
    there = papers()
    if number not in there and number.upper() not in there:
        raise unknown_name("paper", number, there)
    return there[number] if number in there else there[number.upper()]


def paper_of(claim: str) -> str | None:
    """The number of the paper that a claim is of, by the claim's name; None for one that no class statement declares."""
    return next((number for number, claims in declared_claims().items() if claim in {one.kind for one in claims}), None)


@cache
def _listed() -> dict[str, Paper]:
    table = tomllib.loads((HERE / "papers.toml").read_text("utf-8"))
    return {number: Paper(number, **fields) for number, fields in table.items()}


def declared_claims() -> dict[str, list[Declaration]]:
    """The claims of each paper, as their class statements say it: `paper` is a text there, not computed."""
    base = f"{__package__}.claim.Claim"
    found: dict[str, list[Declaration]] = {}
    for one in declarations("study"):
        if one.inherits_from(base) and "paper" in one.constants:
            found.setdefault(one.constants["paper"], []).append(one)
    return found


def _only_named(reference: str, claim: Declaration) -> Paper:
    said = claim.constants.get("statement", "")
    return Paper(reference, name=reference, title=reference, room="", set="", claim=said)
