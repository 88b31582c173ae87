"""What is left of a concept once it was erased inside a model, and what the model loses by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.erasure.eraser import Eraser
from ...probe.erasure.labelled_erasers import LabelledEraser
from ...probe.estimators.estimator import Estimator
from ...probe.estimators.logistic import Logistic
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.models.hooked import HookedModel
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import Batch, generator_for
from .measures import Measure, token_loss
from .results.erasure_effect import ErasureEffect

NOTHING = "nothing"


def erasure_effect(
    model: HookedModel,
    erasers: Mapping[str, Eraser | LabelledEraser],
    train: Sequence[Batch],
    test: Sequence[Batch],
    label: str,
    *,
    hooks: Sequence[str] = (),
    positions: TapRequest = "all",
    estimators: Sequence[Estimator] = (Logistic(),),
    measure: Measure = token_loss,
    randoms: int = 3,
    name: str = "model",
    seed: int = 0,
) -> ErasureEffect:
    """Erase a concept while the model runs, fit fresh probes to what is left, and measure the output.

    erasers: name -> eraser, all of one activation; one that is told the label gets that of the batches. A state is erased at the
        one position that `positions` then names, from where the recurrence goes on; any other activation at all positions.
    train, test: batches that fresh probes are fitted to and scored on, of different sources; the output is measured on `test`.
    label: what the probes read. hooks: where, besides the activation that is erased: later ones show what flows around it.
    estimators: of the fresh probes; one that is not linear shows what linear erasure leaves.
    measure: of the output. randoms: how many random projections stand beside each rank; of their rows the mean is shown.

    Raises ValueError for erasers of different activations.
    """
    places = {eraser.hook for eraser in erasers.values()}
    if len(places) != 1:
        raise ValueError(f"erasers are of one activation; these are of {', '.join(sorted(places)) or 'none'}")
    erased = places.pop()
    check = _ErasureCheck(model, train, test, label, list(dict.fromkeys([erased, *hooks])), positions, estimators, measure, seed)
    rows = check.rows(None, NOTHING)
    for said, eraser in erasers.items():
        rows += check.rows(eraser, said)
    plain = [eraser for eraser in erasers.values() if isinstance(eraser, Eraser)]
    for rank, like in {eraser.rank: eraser for eraser in reversed(plain)}.items():
        drawn = [Eraser.random(like, generator_for(seed, 41, rank, index)) for index in range(randoms)]
        rows += _mean([check.rows(one, f"random, rank {rank}") for one in drawn])
    table = pd.DataFrame(rows).assign(model=name, label=label, erased=erased)
    about = {"measure": getattr(measure, "__name__", "measure"), "randoms": randoms, "seed": seed}
    return ErasureEffect(table[list(ErasureEffect.columns)], about)


@dataclass(frozen=True)
class _ErasureCheck:
    """How what is left of a label is looked at. places: the hooks that probes read, the erased one first."""

    model: HookedModel
    train: Sequence[Batch]
    test: Sequence[Batch]
    label: str
    places: list[str]
    positions: TapRequest
    estimators: Sequence[Estimator]
    measure: Measure
    seed: int

    def rows(self, eraser: Eraser | LabelledEraser | None, said: str) -> list[dict[str, Any]]:
        """A row for each estimator and place, in the model with the eraser."""
        with self._erasing(eraser, self.train):
            seen = self._capture(self.train)
        with self._erasing(eraser, self.test):
            held_out = self._held_out if eraser is None else self._capture(self.test)
        with self._erasing(eraser, self.test):
            changed = self._output({"taps": self.positions} if self._of_state else {})
        change = changed - self._plain
        groups = np.concatenate([batch.groups[:, None].expand(batch.tokens.shape[:2]).flatten().numpy() for batch in self.test])
        counted = ~np.isnan(change)
        low, high = group_bootstrap(change[counted], groups[counted], 500, self.seed)
        about = {"eraser": said, "rank": 0 if eraser is None else eraser.rank, "moved": self._moved(eraser)}
        about |= {"change": float(change[counted].mean()), "change_low": low, "change_high": high}
        found = []
        for estimator in self.estimators:
            sweep = ProbeSweep(estimator=estimator, permutations=0, code_length=False, resamples=300, seed=self.seed)
            scores = sweep.run(seen, held_out, labels=[self.label]).to_frame().set_index("hook")
            for hook in self.places:
                score = {
                    "score": scores.loc[hook, "accuracy"],
                    **{end: scores.loc[hook, end] for end in ("low", "high", "majority")},
                }
                found.append({"estimator": estimator.kind, "hook": hook} | score | about)
        return found

    def _erasing(self, eraser: Eraser | LabelledEraser | None, batches: Sequence[Batch]) -> AbstractContextManager[Any]:
        """The model with an eraser, in which these batches run, one after another and each once."""
        if eraser is None:
            return nullcontext()
        if isinstance(eraser, Eraser):
            return self.model.hooks(fwd_hooks=[eraser.ablate()])
        in_turn = iter([self._labels(batch) for batch in batches])
        return self.model.hooks(fwd_hooks=[(eraser.hook, lambda value, hook: eraser(value, next(in_turn)))])

    def _labels(self, batch: Batch) -> Tensor:
        """The label of each vector of the erased activation: of all tokens, or of those whose state is tapped."""
        found = batch.labels[self.label]
        return found[:, list(Tap.of(self.positions).resolve(batch.tokens.shape[1]))] if self._of_state else found

    @property
    def _of_state(self) -> bool:
        return self.model.points[self.places[0]].at_taps

    @cached_property
    def _held_out(self) -> Capture:
        """What probes are tested on where nothing is erased."""
        return self._capture(self.test)

    @cached_property
    def _plain(self) -> np.ndarray[Any, Any]:
        """What the model gives where nothing is erased."""
        return self._output({})

    def _capture(self, batches: Sequence[Batch]) -> Capture:
        return capture(self.model, list(batches), self.places, positions=self.positions)

    def _output(self, run: dict[str, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            measured = [self.measure(self.model(batch.tokens, **run), batch).cpu().double().flatten() for batch in self.test]
        found: np.ndarray[Any, Any] = torch.cat(measured).numpy()
        return found

    def _moved(self, eraser: Eraser | LabelledEraser | None) -> float:
        """How far an eraser moves the test capture's activations, as a share of their variance."""
        if eraser is None:
            return 0.0
        found = self._held_out
        plain: Tensor = found.activation(self.places[0])[found.position_table >= 0][None]  # shorter sequences have fewer samples
        centred = plain - plain.mean(1)
        told = [] if isinstance(eraser, Eraser) else [found.label(self.label)[None]]
        return float((eraser(plain, *told) - plain).abs().square().sum() / centred.abs().square().sum())


def _mean(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several random projections as one each: the mean of every number."""
    if not runs:
        return []
    rows = pd.DataFrame([row for run in runs for row in run])
    means = rows.groupby(["eraser", "estimator", "hook"], sort=False).mean().reset_index()
    found: list[dict[str, Any]] = means.astype({"rank": int}).to_dict("records")
    return found
