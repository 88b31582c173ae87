"""The papers of the atlas, what is known of each, and where their claims are. Importing this imports no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...probe.declarations import declarations
from ...probe.errors import unknown_name

if TYPE_CHECKING:
    from .claim import Claim

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Paper:
    """A paper, with what the atlas knows of it.

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
        """Whether a file of `papers/` measures it."""
        return self.number in _modules()


@cache
def papers() -> dict[str, Paper]:
    """Every paper by its number, in the order of numbers."""
    table = tomllib.loads((HERE / "papers.toml").read_text("utf-8"))
    return {number: Paper(number, **fields) for number, fields in table.items()}


def paper(number: str) -> Paper:
    """The paper of a number such as "P006" or "p006". Raises UnknownNameError with the nearest number."""
    if number.upper() not in papers():
        raise unknown_name("paper", number, papers())
    return papers()[number.upper()]


def claims_of(number: str) -> tuple[type[Claim], ...]:
    """The claims of a paper, in the order in which its file makes them. Raises UnknownNameError where there are none."""
    from .claim import Claim

    wanted = paper(number).number
    if wanted not in _modules():
        raise unknown_name("paper with claims", wanted, _modules())
    import_module(f".papers.{_modules()[wanted]}", __package__)
    return tuple(kind for kind in Claim.known.values() if issubclass(kind, Claim) and kind.paper == wanted)


def paper_of(claim: str) -> str | None:
    """The number of the paper whose file makes a claim, by the claim's name; None for a claim of no file here. Imports none."""
    files = {declared.module.rpartition(".")[2] for declared in declarations("study") if declared.kind == claim}
    return next((number for number, file in _modules().items() if file in files), None)


def every_claim() -> tuple[type[Claim], ...]:
    """The claims of all papers, by the papers' numbers."""
    return tuple(claim for number in _modules() for claim in claims_of(number))


@cache
def _modules() -> dict[str, str]:
    """The number of each paper with claims, and its file: `papers/p153_mamba.py` measures P153."""
    return {path.stem[:4].upper(): path.stem for path in sorted((HERE / "papers").glob("p[0-9][0-9][0-9]_*.py"))}
