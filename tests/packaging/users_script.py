"""What a user writes, with types: a mixer of their own, a model of it, a capture, probes, spectra, a checkpoint.

Lines that end with "# wrong" are what a type checker has to find; this file is checked, and not run.
"""

# mypy: disallow-untyped-defs, disallow-untyped-calls, disallow-incomplete-defs, warn-return-any, strict-equality

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

import torch
from torch import Generator, Tensor

from statescope import Direction, Edit, Model, ModelConfig, ProbeSweep, capture, load
from statescope.estimators import ProbeScores
from statescope.mixers import LOG_DECAY, MATRIX_STATE, QKV, HeadMixer, HeadsConfig, Mixer, Point, Z, linear, of_transition
from statescope.spectra import Transition, TransitionSpectrum, lyapunov_exponents, transition_spectrum
from statescope.tasks import Parity, generator_for


@dataclass(frozen=True)
class Reflecting(HeadsConfig, kind="reflecting_with_types"):
    """A head's memory is reflected at a unit vector that the token chooses, and decays."""

    strength: float = 2.0

    points = (*QKV, LOG_DECAY, Point("attn.hook_u", "batch position head key", "unit vector"), *MATRIX_STATE, Z)

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return ReflectingMixer(self, width, generator)


def reflection(tokens: dict[str, Any]) -> Transition:
    return Transition.householders(tokens["u"][..., None, :], tokens["log_decay"].exp()[..., None], tokens["log_decay"])


class ReflectingMixer(HeadMixer):
    recurrence = of_transition(reflection)

    def __init__(self, config: Reflecting, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator)
        self.project_u = linear(width, width, generator)

    def tokens(self, x: Tensor, memory: Any) -> dict[str, Any]:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        u = torch.nn.functional.normalize(self.by_head(self.project_u(x)), dim=-1)
        return self.fire(q=q, k=k, v=v, u=u, log_decay=-u[..., 0].abs())


model = Model(ModelConfig(vocabulary=2, width=16, mixer=Reflecting(heads=2)))
batch = Parity().batch(8, 12, "test", generator_for(0), labels=True)
kept = capture(model, [batch], ["blocks.0.attn.hook_state"], positions="last")
scores = ProbeSweep().cross_validate(kept, labels=["parity"])
assert_type(scores, ProbeScores)
assert_type(transition_spectrum(model, batch.tokens), TransitionSpectrum)
assert_type(kept.features("blocks.0.attn.hook_state"), Tensor)

logits, cache = model.run_with_cache(batch.tokens, names_filter="*.hook_state", taps="last")
direction = Direction.difference_of_means(kept.features("blocks.0.attn.hook_state"), kept.label("parity"), hook="a", name="b")
edit: Edit = Edit("last", "scale", torch.tensor(0.0))
theirs: Model = load("folder")  # wrong
width: str = lyapunov_exponents(Transition.diagonal_only(torch.zeros(1, 4, 1), 3))  # wrong
ProbeSweep(folds="five")  # wrong
Model(ModelConfig(vocabulary=2, depth=3))  # wrong
scores.figure().save(3)  # wrong
Edit("last", "scael", torch.tensor(0.0))  # wrong
