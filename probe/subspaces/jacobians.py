"""How an output moves with an activation: the Jacobian of each sample, and the directions that move it most, without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..statistics.groups import sources_of
from .intervals import SubspaceInterval, resampled_cosines
from .subspace import Subspace

if TYPE_CHECKING:
    from ..models.hooked import HookedModel

Output = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Jacobians:
    """d o / d s of N samples: how an output o moves with an activation s.

    matrices: [N, m, D]. inputs: s [N, D]. outputs: o [N, m]. groups: the source of each sample, [N]. hook: where s is.
    """

    matrices: Tensor
    inputs: Tensor
    outputs: Tensor
    groups: Tensor
    hook: str

    __repr__ = with_shapes

    def select(self, rows: Tensor) -> Jacobians:
        """Keep some samples alone, by number or mask."""
        return Jacobians(self.matrices[rows], self.inputs[rows], self.outputs[rows], self.groups[rows], self.hook)

    @property
    def gram(self) -> Tensor:
        """mean_n J_n^T J_n [D, D]: v^T gram v is how far the output moves, squared, for a small step along v."""
        wide = self.matrices.double().flatten(0, 1)
        return wide.T @ wide / len(self.matrices)

    def directions(self, rank: int, *, name: str = "Jacobian") -> Subspace:
        """The `rank` directions of the activation along which a small step moves the output furthest, in order.

        They are the leading right singular vectors of the Jacobians of all samples, one below the other; for a single sample, of
        its own (Haas et al. 2023, arXiv:2303.11073). Raises ValueError where the output moves along fewer.
        """
        values, vectors = torch.linalg.eigh(self.gram)
        moving = int((values > 1e-12 * values[-1]).sum()) if values[-1] > 0 else 0
        if not 0 < rank <= moving:
            raise ValueError(f"{name}: the output moves along {moving} directions of {self.hook}; take a rank up to that")
        basis = vectors[:, -rank:].flip(1).to(torch.promote_types(self.inputs.dtype, torch.float32))
        gains = values[-rank:].flip(0).sqrt().tolist()
        return Subspace(basis, self.hook, name, about={"method": "Jacobian SVD", "gains": gains, "samples": len(self.inputs)})

    def interval(self, rank: int, *, name: str = "Jacobian", resamples: int = 200, seed: int = 0) -> SubspaceInterval[Subspace]:
        """The same directions, and how sure they are: found again in bootstrap resamples of whole groups."""
        whole = self.directions(rank, name=name)
        cosines = resampled_cosines(
            whole, lambda rows: self.select(rows).directions(rank, name=name), self.groups, resamples, seed
        )
        return SubspaceInterval(whole, cosines, len(self.groups.unique()))


def activation_jacobians(
    model: HookedModel,
    tokens: Tensor,
    hook: str,
    *,
    at: int | Tensor,
    to: str | None = None,
    read: int | Tensor = -1,
    output: Output | None = None,
    groups: Tensor | None = None,
) -> Jacobians:
    """How an output of a model moves with an activation, for each sequence of a batch.

    tokens: [B, T]. hook: the activation, one vector a position; a state is taken as one vector of all its entries, and what moves
        is what the recurrence makes of it from there on.
    at: the position of the activation, of all sequences or of each, [B]; of states one for all. read: that of the output.
    to: a later hook, whose activation is the output; the logits when None. output: what is made of either, from [B, n] to [B, m],
        such as the logits of a few tokens. groups: the source of each sequence, [B]; its own when None.

    Each of the m outputs costs a backward pass of the whole batch: take few, by `output`, of a large vocabulary. Raises
    ValueError where the output does not depend on the activation, as where it stands before it.
    """
    names = [hook] if to is None else [hook, to]
    for name in names:
        if name not in model.hook_dict:
            raise model.unknown_hook(name)
    rows, length = torch.arange(len(tokens)), model.length_of(tokens)
    source, target = _positions(at, len(tokens), length, "at"), _positions(read, len(tokens), length, "read")
    of_state = model.points[hook].at_taps
    if of_state and len(source.unique()) > 1:
        raise ValueError(f"{hook} is a state, which is tapped at one position of all sequences; give one number as `at`")
    run: dict[str, Any] = {"taps": [int(source[0])]} if of_state else {}
    place = torch.zeros_like(source) if of_state else source
    seen: dict[str, Tensor] = {}

    def enter(value: Tensor, hook: Any) -> Tensor:
        if value.is_complex():
            raise TypeError(f"{hook.name} is complex; its Jacobian is not that of real numbers")
        seen["inputs"] = value[rows, place].detach().requires_grad_()
        return value.detach().index_put((rows, place), seen["inputs"])

    def leave(value: Tensor, hook: Any) -> None:
        seen["outputs"] = value

    with torch.enable_grad():
        hooks: list[Any] = [(hook, enter)] + ([] if to is None else [(to, leave)])
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks, **run)
        shown = (logits if to is None else seen["outputs"])[rows, target].flatten(1)
        found = shown if output is None else output(shown)
        if found.ndim != 2 or len(found) != len(tokens):
            raise ValueError(f"an output is [B, m] with B = {len(tokens)}, got {tuple(found.shape)}")
        if not found.requires_grad:
            raise ValueError(f"what is read does not depend on {hook} at these positions; read a later hook or position")
        each = [
            torch.autograd.grad(own.sum(), seen["inputs"], retain_graph=True, allow_unused=True)[0] for own in found.unbind(1)
        ]
    if all(own is None or not bool(own.any()) for own in each):
        raise ValueError(f"what is read does not depend on {hook} at these positions; read a later hook or position")
    held = [torch.zeros_like(seen["inputs"]) if own is None else own for own in each]
    matrices = torch.stack([own.flatten(1) for own in held], dim=1).cpu()
    sources = sources_of(groups, len(tokens))
    return Jacobians(matrices, seen["inputs"].detach().flatten(1).cpu(), found.detach().cpu(), sources, hook)


def _positions(at: int | Tensor, count: int, length: int, name: str) -> Tensor:
    """A position of each of `count` sequences, counted from the start."""
    found = torch.as_tensor(at).expand(count) if not isinstance(at, Tensor) or not at.ndim else at
    if found.shape != (count,) or found.is_floating_point():
        raise ValueError(f"{name} is one position, or one of each of the {count} sequences; got {tuple(found.shape)}")
    if bool(((found < -length) | (found >= length)).any()):
        raise IndexError(f"{name} is outside the {length} positions of these sequences")
    return found % length
