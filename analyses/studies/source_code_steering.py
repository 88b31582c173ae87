"""The second half of the source-code study: which direction moves what the models write is chosen, and then tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.recurrence import TapRequest
from ...probe.captures.capture import Capture
from ...probe.estimators.linear_discriminant import LinearDiscriminant
from ...probe.estimators.on_principal_components import OnPrincipalComponents
from ...probe.models.model import Model
from ...probe.subspaces.direction import Direction
from ...probe.subspaces.finders import DirectionFinder, MeanDifference, Reading
from ...probe.tasks.base import Batch
from ..behaviour.causal_check import causal_check, join_causal_checks
from ..behaviour.direction_choice import direction_choice
from ..behaviour.measures import Measure, concept_score
from ..behaviour.results.causal_check import CausalCheck
from ..behaviour.results.direction_choice import DirectionChoice
from ..behaviour.steering import log_odds

FINDERS: dict[str, tuple[DirectionFinder, bool]] = {
    "means": (MeanDifference(), False),
    "means, same byte": (MeanDifference(), True),
    "discriminant": (Reading(OnPrincipalComponents(LinearDiscriminant(balanced=True))), False),
}
REACH = 32  # bytes behind an edit of the state in which it is measured


@dataclass(frozen=True)
class SteeringPlace:
    """A place where concepts are steered: activations of a model, at every byte, or once, of states, from where they go on.

    hooks: among these one is chosen. seen: a capture of them on validation data.
    """

    name: str
    model: Model
    hooks: tuple[str, ...]
    seen: Capture
    of_states: bool


@dataclass(frozen=True)
class ConceptSteering:
    """What is common to all places: the data that choose and those that test, and how much.

    written: tokens and labels from which it is told how a concept shows in the next byte.
    """

    choosing: Batch
    testing: Batch
    written: Batch
    vocabulary: int
    strengths: tuple[float, ...]
    randoms: int
    seed: int

    def measure(self, concept: str) -> Measure:
        """How much the next byte looks like what is written where the concept holds."""
        present = self.written.labels[concept].flatten() > 0
        return concept_score(log_odds(self.written.targets.flatten(), present, self.vocabulary))

    def run(
        self, places: list[SteeringPlace], concepts: tuple[str, ...]
    ) -> tuple[DirectionChoice, CausalCheck, dict[str, Direction]]:
        """Choose a direction of each concept at each place, and check it against random ones on the test data."""
        choices, checks, chosen = [], [], {}
        for place in places:
            spreads = {hook: _spread(place.seen.features(hook)) for hook in place.hooks}
            for concept in concepts:
                choice, direction = self._choose(place, concept, spreads)
                choices.append(choice)
                checks += self._check(place, concept, direction, spreads[direction.hook])
                chosen[f"{place.name}, {concept}"] = direction
        return DirectionChoice.joined(choices), join_causal_checks(checks), chosen

    def _choose(self, place: SteeringPlace, concept: str, spreads: Mapping[str, Tensor]) -> tuple[DirectionChoice, Direction]:
        taps, absent, _ = self._where(place, self.choosing, concept)
        return direction_choice(
            place.model,
            candidates(place.seen, place.hooks, concept),
            self.choosing,
            place=place.name,
            measure=self.measure(concept),
            where=absent,
            spreads=dict(spreads),
            taps=taps,
            seed=self.seed,
        )

    def _check(self, place: SteeringPlace, concept: str, direction: Direction, spread: Tensor) -> list[CausalCheck]:
        """Steer where the concept is absent, and take it out where it is present."""
        taps, absent, present = self._where(place, self.testing, concept)
        found = []
        for where, what in ((absent, {"operations": (), "strengths": self.strengths}), (present, {"operations": ("ablate",)})):
            if bool(where.any()):
                check = causal_check(
                    place.model,
                    direction,
                    self.testing,
                    measure=self.measure(concept),
                    where=where,
                    randoms=self.randoms,
                    spread=spread,
                    taps=taps,
                    name=place.name,
                    seed=self.seed,
                    **what,
                )
                found.append(check)
        return found

    def _where(self, place: SteeringPlace, batch: Batch, concept: str) -> tuple[TapRequest | None, Tensor, Tensor]:
        """The taps at which a state is changed, and the positions that count where the concept is absent and where present."""
        holds = batch.labels[concept] > 0
        if not place.of_states:
            return None, ~holds, holds
        length = batch.tokens.shape[1]
        edited = length - 1 - min(REACH, length // 2)
        behind = torch.arange(length) >= edited
        at = holds[:, edited : edited + 1]
        return [edited], ~holds & ~at & behind, holds & at & behind


def candidates(seen: Capture, hooks: tuple[str, ...], concept: str) -> list[Direction]:
    """The directions of a concept, by each way of finding it in each activation, which go equally far: one gap of the means.

    Their origin is the mean of the samples without the concept, so that taking one out leaves what those have.
    """
    present, byte = seen.label(concept) > 0, seen.contexts(1)[:, 0]
    found = []
    for hook in hooks:
        features = seen.features(hook)
        gap = features[present].double().mean(0) - features[~present].double().mean(0)
        about: dict[str, Any] = {"hook": hook, "name": concept, "groups": seen.sample_groups, "split": "validation"}
        for method, (finder, same) in FINDERS.items():
            own = finder.fit(features, present, given=byte if same else None, method=method, **about)
            found.append(own.with_scale(float(gap.norm())).counted_from(features[~present].mean(0)))
    return found


def _spread(features: Tensor) -> Tensor:
    """The activations [N, D] as a spread of random directions, see `Subspace.random`."""
    spread: Tensor = (features - features.mean(0)).T / len(features) ** 0.5
    return spread
