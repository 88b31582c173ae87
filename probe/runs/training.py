"""Training: a plain loop over batches of a task, with checkpoints it can go on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...kernels.arguments import NonFiniteError
from ..configuration import Configuration, Count, NotNegative, Positive
from ..errors import StatescopeError
from ..tasks.base import IGNORED, Batch, Task, generator_for
from .checkpoint import Checkpoints
from .checkpoint_file import Progress
from .notebook import reporter_here
from .progress import Silent

Report = Callable[[int, int, float], None]  # steps done, steps in all, loss


@dataclass(frozen=True)
class Training(Configuration):
    """AdamW with a linear warm-up and a cosine decay to zero."""

    steps: Count = 300
    """Training takes this many steps, each on one batch."""
    batch: Count = 64
    """A batch holds this many sequences."""
    length: Count = 40
    """A training sequence has this many tokens."""
    learning_rate: Positive = 3e-3
    """The learning rate reaches this at its peak, after the warm-up."""
    warm_up: Count = 20
    """The learning rate rises for this many steps until it reaches its peak."""
    weight_decay: NotNegative = 0.01
    """Each step shrinks the weights by this times the learning rate, as in AdamW."""
    clip: Positive = 1.0
    """Gradients whose norm over all parameters is larger than this are scaled down to it."""
    checkpoint_every: Count = 50
    """A checkpoint is written each time this many steps have been taken."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


class NonFiniteLossError(StatescopeError, ArithmeticError):
    """The loss is NaN or infinite; the text names the step, where it arose, and the checkpoint that was kept."""


def train(
    model: nn.Module,
    task: Task,
    training: Training,
    *,
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
    report: Report | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    hooks: Sequence[tuple[Any, Callable[..., Any]]] = (),
) -> Progress:
    """Train in place, on the device that the model is on, from the newest checkpoint if there is one.

    parameters: what is trained; all of the model's when None. Checkpoints keep those of the model alone.
    report: called after each step; when None, a notebook shows a bar.
    hooks: hook functions by name, as `run_with_hooks` takes them, that act in every forward pass of the training and not behind
        it. With `direction.ablate()` it is concept ablation fine-tuning (Casademunt et al. 2025, arXiv:2507.16795): no gradient
        reaches what lies before the hook along the direction, so that the model cannot learn to use it there.

    The batch of a step depends on (seed, step) alone, so a run that was interrupted ends with the same numbers.
    Raises NonFiniteLossError at the first step whose loss or gradient is not finite, ValueError for `parameters` beside
    checkpoints.
    """
    if parameters is not None and checkpoints is not None:
        raise ValueError("checkpoints keep all parameters of the model and no others; train chosen ones without them")
    trained = list(model.parameters() if parameters is None else parameters)
    optimizer = torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=training.weight_decay)
    progress = checkpoints.restore(model, optimizer) if checkpoints is not None else Progress(0, ())
    losses = list(progress.losses)
    if checkpoints is not None:  # what was the newest checkpoint may be one to keep by now
        checkpoints.mark(model, progress)
    shown = reporter_here() if report is None else Silent()
    shown.stage("training", training.steps)
    model.train()
    for step in range(progress.step, training.steps):
        batch = task.batch(training.batch, training.length, "train", generator_for(seed, step))
        for group in optimizer.param_groups:
            group["lr"] = training.rate(step)
        optimizer.zero_grad()
        try:
            with model.hooks(fwd_hooks=list(hooks)) if hooks else nullcontext():  # type: ignore[operator]
                loss = task_loss(model(batch.tokens), batch)
                loss.backward()
            value, norm = loss.item(), nn.utils.clip_grad_norm_(trained, training.clip).item()
        except NonFiniteError:
            value, norm = math.nan, math.nan
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NonFiniteLossError(_explain(model, batch, step, value, checkpoints))
        optimizer.step()
        losses.append(value)
        shown.advance(step + 1, f"loss {value:.4f}")
        if report is not None:
            report(step + 1, training.steps, value)
        if checkpoints is not None:
            checkpoints.mark(model, Progress(step + 1, tuple(losses)))
        done = step + 1 == training.steps
        if checkpoints is not None and (done or (step + 1) % training.checkpoint_every == 0):
            checkpoints.save(model, optimizer, Progress(step + 1, tuple(losses)))
    shown.end()
    model.eval()
    return Progress(training.steps, tuple(losses))


def task_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats over the positions that have a target; of real targets, the mean squared error. It stands on the
    device of the logits.
    """
    return loss_on(logits, batch.targets)


def loss_on(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of `task_loss` on the targets of a batch, [B, T] or [B, T, outputs]."""
    targets = targets.to(logits.device)
    if targets.is_floating_point():
        counted = targets.isfinite()
        return functional.mse_loss(logits[counted], targets[counted].to(logits.dtype))
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def _explain(model: nn.Module, batch: Batch, step: int, loss: float, checkpoints: Checkpoints | None) -> str:
    where = first_non_finite(model, batch.tokens)
    if where is None:
        bad = [n for n, p in model.named_parameters() if p.grad is not None and not bool(p.grad.isfinite().all())]
        where = f"the gradient of {bad[0]}" if bad else "the loss itself"
    newest = None if checkpoints is None else checkpoints.newest
    kept = "no checkpoint had been written yet" if newest is None else f"the last good checkpoint, {newest}, is kept"
    return f"the loss is {loss} at step {step}; first not finite: {where}; {kept}. A lower learning_rate or clip may help"


def first_non_finite(model: nn.Module, tokens: Tensor) -> str | None:
    """The first hook of a forward pass, in the order they fire, whose value is not finite; None if all are."""
    found: list[str] = []

    def look(value: Any, hook: Any) -> None:
        if not found and isinstance(value, Tensor) and not bool(value.isfinite().all()):
            found.append(hook.name)

    try:
        with torch.no_grad(), model.hooks(fwd_hooks=[(lambda name: True, look)]):  # type: ignore[operator]
            model(tokens)
    except NonFiniteError as error:  # a kernel refuses what it is given
        return found[0] if found else str(error)
    return found[0] if found else None
