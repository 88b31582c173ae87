"""What every task must hold, as a check that the author of a task runs on it."""

from __future__ import annotations

from torch import Tensor

from ..errors import StatescopeError
from .base import IGNORED, SHARES, Batch, Split, Task, generator_for


class UnfitTaskError(StatescopeError, ValueError):
    """A task that breaks what training, probes and intervals rely on."""


def check_task(task: Task, *, size: int = 50, length: int = 20) -> None:
    """Check a task by drawing from it. Raises UnfitTaskError, with the reason, unless

    - the same generator gives the same batch, and another one gives another,
    - tokens and targets are whole numbers of the vocabulary (-100 where nothing is asked), or real numbers of the sizes that
      `inputs` and `vocabulary` say (nan where nothing is asked), and some position has a target,
    - labels, among them those of `label_names`, are whole numbers at every position,
    - there is a group for each sequence,
    - and no sequence is in two splits: what is measured on the test split was not trained on.

    size, length: of the batches that are drawn.
    """
    first, again, other = (task.batch(size, length, "train", generator_for(seed), labels=True) for seed in (1, 1, 2))
    _require(_equal(first.tokens, again.tokens), "two batches of one generator differ; draw everything from the generator given")
    _require(not _equal(first.tokens, other.tokens), "batches of two generators are equal; draw from the generator given")
    _check_numbers(task, first, (size, length))
    missing = set(task.label_names) - set(first.labels)
    _require(not missing, f"label_names holds {', '.join(sorted(missing))}, which no batch has")
    for name, label in first.labels.items():
        _require(label.shape == (size, length), f"label {name!r} is {list(label.shape)}, not [{size}, {length}]")
        _require(not label.dtype.is_floating_point, f"label {name!r} is {label.dtype}; labels are whole numbers")
    _require(first.groups.shape == (size,), f"groups is {list(first.groups.shape)}, not [{size}]")
    seen: dict[Split, set[bytes]] = {}
    for split in SHARES:
        rows = task.batch(size, length, split, generator_for(3)).tokens
        seen[split] = {row.tobytes() for row in rows.numpy()}
    for one, two in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = seen[one] & seen[two]  # type: ignore[index]
        _require(not both, f"{len(both)} of {size} sequences are in the {one} split and in the {two} split; see draw_split")


def _check_numbers(task: Task, batch: Batch, shape: tuple[int, int]) -> None:
    tokens, targets = batch.tokens, batch.targets
    if task.inputs:
        wanted = (*shape, task.inputs), (*shape, task.vocabulary)
        found = tuple(tokens.shape), tuple(targets.shape)
        _require(found == wanted, f"tokens and targets are {found}, and inputs and vocabulary say {wanted}")
        _require(tokens.dtype.is_floating_point and bool(tokens.isfinite().all()), "tokens must be finite real numbers")
        _require(bool(targets.isfinite().any()), "no position has a target")
        return
    found = tuple(tokens.shape), tuple(targets.shape)
    _require(found == (shape, shape), f"tokens and targets are {found}, not {shape} each")
    counted = targets[targets != IGNORED]
    _require(counted.numel() > 0, "no position has a target")
    for name, values in (("tokens", tokens), ("targets", counted)):
        _require(not values.dtype.is_floating_point, f"{name} are {values.dtype}; give whole numbers, or say `inputs`")
        low, high = int(values.min()), int(values.max())
        _require(low >= 0 and high < task.vocabulary, f"{name} range over [{low}, {high}]; the vocabulary is {task.vocabulary}")


def _equal(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and bool((one == two).all())


def _require(held: bool, reason: str) -> None:
    if not held:
        raise UnfitTaskError(reason)
