"""A claim of a paper, and what a study measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from ...probe.errors import unknown_name
from ...probe.runs.run import Run
from ...probe.runs.study import Study

Verdict = Literal["holds", "fails"]
Relation = Literal["at least", "at most", "equals"]


@dataclass(frozen=True)
class Measurement:
    """One number that a claim stands on.

    what: what it is. expected, relation, tolerance: the claim holds if the number found is at least (at most) expected, less
    (plus) the tolerance, or equals it within the tolerance.
    """

    what: str
    expected: float
    relation: Relation
    read: Callable[[Run], float]
    tolerance: float = 0.0

    def verdict(self, found: float) -> Verdict:
        if self.relation == "at least":
            return "holds" if found >= self.expected - self.tolerance else "fails"
        if self.relation == "at most":
            return "holds" if found <= self.expected + self.tolerance else "fails"
        return "holds" if abs(found - self.expected) <= self.tolerance else "fails"


@dataclass(frozen=True)
class Claim:
    """An atlas entry. study: makes the study that measures the claim. note: a finding, where it does not reproduce as stated."""

    number: str
    paper: str
    reference: str
    statement: str
    study: Callable[[], Study]
    measurements: tuple[Measurement, ...]
    note: str = ""

    def measure(self, run: Run) -> list[tuple[Measurement, float, Verdict]]:
        """Read each number from a finished run of the study."""
        found = [(measurement, measurement.read(run)) for measurement in self.measurements]
        return [(measurement, value, measurement.verdict(value)) for measurement, value in found]


TITLES = {
    "P001": "Parallelizing linear transformers with the delta rule over sequence length (DeltaNet)",
    "P002": "DeltaProduct: state tracking through Householder products",
    "P004": "Gated linear attention transformers with hardware-efficient training (GLA)",
    "P005": "Liger: linearizing models to gated recurrent structures",
    "P006": "Unlocking state-tracking in linear RNNs through negative eigenvalues",
    "P009": "A systematic analysis of hybrid linear attention",
    "P013": "Linear state-space layers (LSSL)",
    "P017": "Hedgehog: linear attention with softmax mimicry",
    "P029": "Lightning Attention-2",
    "P068": "GLU variants improve transformer",
    "P080": "How to train your HiPPO",
    "P089": "The Mamba in the Llama: distilling hybrid models",
    "P117": "Gated slot attention (GSA)",
    "P120": "Linear-MoE: one recurrence behind the named linear models",
    "P122": "Transformers are RNNs (linear attention)",
    "P128": "GateLoop: fully data-controlled linear recurrence",
    "P153": "Mamba: linear-time sequence modeling with selective state spaces",
    "P154": "HGRN2: gated linear RNNs with state expansion",
    "P155": "Simple linear attention language models balance the recall-throughput tradeoff (BASED)",
    "P304": "Representational strengths and limitations of transformers (sparse averaging)",
    "P375": "FlashRNN: cells with block-diagonal recurrence",
}


def claim_of(number: str) -> Claim:
    """The atlas entry of a paper, such as "P006". Raises UnknownNameError with the nearest number."""
    wanted = number.upper()
    if wanted not in TITLES:
        raise unknown_name("atlas entry", number, TITLES)
    claim: Claim = import_module(f".{wanted.lower()}", __package__).CLAIM
    return claim


def claims_of(number: str) -> tuple[Claim, ...]:
    """All claims of a paper: the one on its equations, and those on trained models, which take minutes."""
    first = claim_of(number)
    trained: tuple[Claim, ...] = getattr(import_module(f".{first.number.lower()}", __package__), "TRAINED", ())
    return first, *trained
