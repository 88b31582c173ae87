"""A board in a model of Othello (Nanda et al. 2023, arXiv:2309.00941): mine and yours against black and white, and edits of it.

A model of random games is probed for every square in both frames. Then a square is turned over inside the residual stream, along
the probes' directions, and the moves that the model now thinks legal are compared with those of the board that was meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...probe.captures.capture import Capture, labelled
from ...probe.captures.collect import capture
from ...probe.configuration import Count, NotEmpty, Positive
from ...probe.estimators.estimator import LinearProbe
from ...probe.estimators.fitted_probes import FittedProbes
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.estimators.ridge import Ridge
from ...probe.hooks.names import hook_name
from ...probe.mixers import GatedDeltaNet, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import IGNORED, Batch, Split, generator_for
from ...probe.tasks.othello import Othello, legal_moves
from ..behaviour.results.training_curve import TrainingCurve
from .results.othello import BoardEdits, BoardFrames

MINE = "mine and yours"
FRAMES = {MINE: "square", "black and white": "black"}
TAKEN = "colour_of_"  # begins the names of labels that say nothing where the square is empty


@dataclass(frozen=True)
class OthelloStudy(Study, kind="othello"):
    """Gated DeltaNet on games on a small board."""

    task: Othello = field(default_factory=lambda: Othello(board=6))
    """The model learns these games. On 4 x 4 squares it can learn all beginnings by heart, and needs no board."""
    training: Training = field(default_factory=lambda: Training(steps=2000, batch=64, length=16, learning_rate=4e-3))
    mixer: MixerConfig = field(default_factory=lambda: GatedDeltaNet(heads=4, key_size=16, value_size=16))
    """The model has this token mixer."""
    width: Count = 64
    """The residual stream has this many channels."""
    layers: Count = 4
    """The model has this many layers."""
    games: Count = 400
    """Probes are fitted on this many games, and tested on as many others."""
    edited: Count = 100
    """This many games are edited, each at one move."""
    strengths: Annotated[tuple[Positive, ...], NotEmpty()] = (0.5, 1.0, 2.0)
    """Edits go this far: 1 makes the probe's scores those of the other colour."""

    question: ClassVar[str] = "Does a model of games keep the board, in whose colours, and does it play by that board?"
    time: ClassVar[str] = "4 min"

    def models(self) -> dict[str, ModelConfig]:
        return {"model": ModelConfig(self.task.vocabulary, self.width, self.layers, self.mixer, seed=self.seed)}

    def execute(self, run: Run) -> None:
        model, history = run.train("model", self.models()["model"], self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories={"model": history})
        run.compute(("board_frames", "board_edits"), self._look, model=model)

    @property
    def _hooks(self) -> list[str]:
        return [hook_name(layer, "hook_resid_post") for layer in range(self.layers)]

    def _look(self, model: Model) -> dict[str, Result]:
        seen = capture(model, [self._batch("validation", 1)], self._hooks)
        held_out = capture(model, [self._batch("test", 2)], self._hooks)
        sweep = ProbeSweep(estimator=Ridge(), permutations=0, code_length=False, resamples=50, seed=self.seed)
        squares = {frame: self._labels(seen, prefix) for frame, prefix in FRAMES.items()}
        fitted = {frame: sweep.fit(seen, labels=[*own, *(TAKEN + name for name in own)]) for frame, own in squares.items()}
        frames = {frame: self._frame(frame, fitted[frame], held_out, own) for frame, own in squares.items()}
        best = str(frames[MINE].set_index("hook")["colour"].idxmax())
        return {"board_frames": BoardFrames(pd.concat(frames.values())), "board_edits": self._edits(model, fitted[MINE], best)}

    def _labels(self, seen: Capture, prefix: str) -> list[str]:
        """The labels of a frame that take more than one value."""
        return [name for name in seen.labels if name.startswith(f"{prefix}_") and len(seen.label(name).unique()) > 1]

    def _frame(self, frame: str, read: FittedProbes, held_out: Capture, squares: Sequence[str]) -> pd.DataFrame:
        """How well a frame is read, by hook: by probes of what lies on each square, and of the colour where it is taken."""
        rows = []
        for hook in self._hooks:
            found = [[_right(read, held_out, hook, start + name) for start in ("", TAKEN)] for name in squares]
            (accuracy, majority), (colour, colour_majority) = np.nanmean(found, 0)
            colours = [own for _, (own, _) in found]
            rows.append(
                (frame, hook, accuracy, majority, colour, colour_majority, np.nanmin(colours), np.nanmax(colours), len(found))
            )
        return pd.DataFrame(rows, columns=list(BoardFrames.columns))

    def _edits(self, model: Model, fitted: FittedProbes, hook: str) -> BoardEdits:
        """Turn a taken square over where colours are read best, in games of their own, and count wrong moves after it."""
        batch = self.task.batch(self.edited, self.training.length, "test", generator_for(self.seed, 903), labels=True)
        cases = self._cases(batch, fitted, hook)
        if not cases:
            raise ValueError("no position of these games has a square that can be turned over; take more games")
        shifts = torch.stack([_swap(fitted, hook, case) for case in cases])
        drawn = torch.stack([torch.randn(shifts.shape[1], generator=generator_for(self.seed, 905, case.game)) for case in cases])
        steps = {"probe": shifts, "random": drawn * shifts.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)}
        groups = batch.groups[[case.game for case in cases]].numpy()
        kinds = [("played board", 0.0), ("none", 0.0), *((edit, dose) for dose in self.strengths for edit in steps)]
        errors = {}
        for edit, strength in kinds:
            logits = self._moved(model, batch, cases, hook, strength * steps.get(edit, shifts))
            meant = [case.played if edit == "played board" else case.legal for case in cases]
            errors[edit, strength] = np.array([_wrong_moves(own, legal) for own, legal in zip(logits, meant, strict=True)])
        rows = []
        for (edit, strength), own in errors.items():
            fewer = errors["none", 0.0] - own
            intervals = [group_bootstrap(values, groups, 1000, self.seed) for values in (own, fewer)]
            rows.append((edit, strength, own.mean(), *intervals[0], fewer.mean(), *intervals[1], len(cases)))
        return BoardEdits(pd.DataFrame(rows, columns=list(BoardEdits.columns)), {"hook": hook})

    def _cases(self, batch: Batch, fitted: FittedProbes, hook: str) -> list[_Case]:
        """The same move of each game, with a square whose turning changes what is legal."""
        found, size = [], self.task.board
        for game in range(len(batch.tokens)):
            drawn = torch.randperm(size**2, generator=generator_for(self.seed, 904, game)).tolist()
            move = self.training.length // 2
            board = _board(batch, game, move, size)
            mover = {0: 1, 1: -1}.get(int(batch.labels["player"][game, move]))
            if mover is None:
                continue
            for square in drawn:
                place = divmod(square, size)
                name, turned = f"square_{place[0]}_{place[1]}", board.copy()
                turned[place] *= -1
                wanted, played = (_moves(pieces, mover) for pieces in (turned, board))
                if board[place] and wanted and wanted != played and fitted.has(hook, name):
                    found.append(_Case(game, move, name, int(batch.labels[name][game, move]), wanted, played))
                    break
        return found

    def _moved(self, model: Model, batch: Batch, cases: Sequence[_Case], hook: str, shifts: Tensor) -> Tensor:
        """The logits of each case's next move, [cases, vocabulary], with a shift [cases, D] in the last place of the hook."""
        tokens = batch.tokens[[case.game for case in cases], : cases[0].move + 1]

        def change(value: Tensor, hook: object) -> Tensor:
            changed = value.clone()
            changed[:, -1] += shifts
            return changed

        with torch.no_grad():
            logits: Tensor = model.run_with_hooks(tokens, fwd_hooks=[(hook, change)])
        return logits[:, -1]

    def _batch(self, split: Split, stream: int) -> Batch:
        """Games with the labels of both frames, and the same of taken squares alone."""
        batch = self.task.batch(self.games, self.training.length, split, generator_for(self.seed, 900 + stream), labels=True)
        squares = {name: values for name, values in batch.labels.items() if name.startswith(tuple(FRAMES.values()))}
        taken = {TAKEN + name: torch.where(values > 0, values, IGNORED) for name, values in squares.items()}
        return replace(batch, labels=batch.labels | taken)


@dataclass(frozen=True)
class _Case:
    """A square of a game that is turned over after a move. value: 1 the mover's, 2 the other's.

    legal, played: the moves on the board with it turned over, and on the board as it was played.
    """

    game: int
    move: int
    label: str
    value: int
    legal: tuple[int, ...]
    played: tuple[int, ...]


def _right(probes: FittedProbes, held_out: Capture, hook: str, label: str) -> tuple[float, float]:
    """The share of the labelled samples that a probe has right, and of always giving the most frequent class; nan of none."""
    truth = held_out.label(label)
    known = labelled(truth)
    if not probes.has(hook, label) or not bool(known.any()):
        return math.nan, math.nan
    right = probes.predict(held_out, hook, label)[known] == truth[known]
    return float(right.double().mean()), float(truth[known].bincount().max()) / int(known.sum())


def _wrong_moves(logits: Tensor, legal: tuple[int, ...]) -> float:
    """Wrong moves among the likeliest, as many as are legal, and legal ones that are not among them."""
    likeliest = set(logits[:-1].topk(len(legal)).indices.tolist())
    return float(len(likeliest ^ set(legal)))


def _board(batch: Batch, game: int, move: int, size: int) -> NDArray[np.int64]:
    """What lies on the squares after a move, [size, size]: 1 black, -1 white, 0 nothing."""
    labels = [int(batch.labels[f"black_{square // size}_{square % size}"][game, move]) for square in range(size**2)]
    return np.array([0, 1, -1])[labels].reshape(size, size)


def _moves(board: NDArray[np.int64], player: int) -> tuple[int, ...]:
    """The squares that a player may take, by number."""
    return tuple(np.flatnonzero(legal_moves(board == player, board == -player)).tolist())


def _swap(fitted: FittedProbes, hook: str, case: _Case) -> Tensor:
    """The least step that changes by 2 how much the probe scores the other colour above the square's own, from about -1 to 1."""
    probe = fitted.probe(hook, case.label)
    assert isinstance(probe, LinearProbe)
    classes = probe.classes.tolist()
    apart = probe.weights[classes.index(3 - case.value)] - probe.weights[classes.index(case.value)]
    shift: Tensor = (2 * apart / apart.square().sum()).float()
    return shift
