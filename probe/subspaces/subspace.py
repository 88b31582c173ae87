"""Subspaces of an activation space: what lies in them, without them, and along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from ...kernels.notebook import titled_table
from ...kernels.recurrence import Edit, Verb
from ...kernels.shown import with_shapes
from ..errors import unknown_name
from ..files import with_ending
from ..results.text import visible
from ..tensor_file import UNREADABLE, read_tensors, write_tensors
from .sides import Side, change_vectors, vectors_of

HookFunction = tuple[str, Callable[..., Tensor]]

# operation of an Edit that removes a direction: (axes of the state behind batch and position, side)
REMOVING: dict[tuple[int, str], Literal["project_out_key", "project_out_value"]] = {
    (3, "key"): "project_out_key",
    (3, "value"): "project_out_value",
    (3, "vector"): "project_out_value",
    (2, "key"): "project_out_key",
    (2, "vector"): "project_out_key",
}

LARGEST = 6  # entries that a notebook shows
_AXES = {"basis": 2, "metric": 2, "origin": 1}  # of the tensors in a file, which have one more where they are complex


@dataclass(frozen=True, eq=False)
class Subspace:
    """The span of r directions, with its provenance.

    Which vectors an activation consists of is said by `side`. "vector": its last axis, or as many of its last axes as hold D
    numbers together. In a matrix state [..., K, V], "key" means its V columns of K numbers and "value" its K rows of V: what is
    done is done to each of them. A complex activation is the real space of its real and imaginary parts, <a, b> = Re(a^H M b),
    so that a complex line is a subspace with r = 2.

    basis: [D, r], orthonormal under the metric: B^H M B = I (its real part, where complex).
    hook: the activation it lives in. name: the concept.
    side: see above.
    scale: the length of one unit of strength in `steer`, in the activation's own units.
    about: which data, which fit.
    metric: M [D, D], symmetric and positive definite; None for the identity.
    origin: [D], the point that coordinates are counted from, and that removing leads back to; None for 0. With the mean of the
        samples without a concept, a coordinate of 0 is what they have on average.

    Raises ValueError for a basis that is not orthonormal, for a metric that is not symmetric or an origin that is not finite, for
    either of another size, or complex beside a real basis, and for a scale that is not finite; TypeError for names that are no
    text.
    """

    basis: Tensor
    hook: str
    name: str
    side: Side = "vector"
    scale: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)
    metric: Tensor | None = None
    origin: Tensor | None = None

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        if not (isinstance(self.hook, str) and isinstance(self.name, str) and isinstance(self.about, Mapping)):
            raise TypeError(
                f"hook and name are texts and about a table, got {self.hook!r:.40}, {self.name!r:.40}, {self.about!r:.40}"
            )
        if not math.isfinite(self.scale):
            raise ValueError(f"{self.name}: a scale is a finite number, got {self.scale}")
        if self.side not in get_args(Side):
            raise unknown_name("side", str(self.side), get_args(Side))
        if self.basis.ndim != 2 or not 0 < self.basis.shape[1] <= self.basis.shape[0]:
            raise ValueError(f"{self.name}: a basis is [D, r] with 0 < r <= D, got {tuple(self.basis.shape)}")
        if self.metric is not None and self.metric.shape != (len(self.basis), len(self.basis)):
            raise ValueError(
                f"{self.name}: a metric is [D, D], got {tuple(self.metric.shape)} for a basis of D = {len(self.basis)}"
            )
        if self.origin is not None and self.origin.shape != self.basis.shape[:1]:
            raise ValueError(f"{self.name}: an origin is [{len(self.basis)}], got {tuple(self.origin.shape)}")
        self._check_numbers()
        rounded = self.basis.dtype in (torch.float16, torch.bfloat16)
        object.__setattr__(self, "basis", self.basis.detach().to(torch.promote_types(self.basis.dtype, torch.float32)))
        lengths = (self.basis.conj() * self._measured).real.sum(0).sqrt()
        if rounded and bool(((lengths - 1).abs() < 0.02).all()):  # what rounding to 8 bits leaves of length 1
            object.__setattr__(self, "basis", self.basis / lengths)
        gram = (self.basis.mH @ self._measured).real
        off = float((gram - torch.eye(len(gram)).to(gram)).abs().max())
        if not off < (0.02 if rounded and len(gram) > 1 else 1e-4):
            raise ValueError(f"{self.name}: {self._flaw(gram, off)}")

    def _check_numbers(self) -> None:
        """Raise ValueError for a metric or an origin that is none: basis, metric and origin have the sizes that they should."""
        for name, held in (("metric", self.metric), ("origin", self.origin)):
            if held is not None and held.is_complex() and not self.basis.is_complex():
                raise ValueError(f"{self.name}: the {name} is complex and the basis real; give both parts, or neither")
            if held is not None and not bool(held.isfinite().all()):
                raise ValueError(f"{self.name}: the {name} holds numbers that are not finite")
        if self.metric is not None:
            off, size = (float(x.abs().max()) for x in (self.metric.mH.double() - self.metric.double(), self.metric))
            if off > 1e-3 * size:
                raise ValueError(f"{self.name}: a metric is symmetric; this one and its transpose are {off:.3g} apart")

    def _flaw(self, gram: Tensor, off: float) -> str:
        return f"a basis is orthonormal under its metric; B^T M B differs from I by {off:.3g}"

    def _repr_html_(self) -> str:
        """What a notebook shows: where it lies, from what data, and the entries of its first vector that are largest."""
        first = self.basis[:, 0]
        largest = first.abs().argsort(descending=True)[:LARGEST].tolist()
        facts = {"activation": self.hook, "side": self.side, "dimensions": f"{self.rank} of {len(self.basis)}"}
        facts |= {"scale": f"{self.scale:.4g}", "metric": "none" if self.metric is None else "given"}
        facts |= {"origin": "0" if self.origin is None else f"at a distance of {float(self.origin.norm()):.4g}"}
        facts |= {"largest entries": ", ".join(f"{first[index].item():.3g} ({index})" for index in largest)}
        facts |= {str(name): f"{value!r:.80}" for name, value in self.about.items()}
        title = f"{type(self).__name__} {self.name}"
        return titled_table(visible(title), [(visible(name), visible(value)) for name, value in facts.items()])

    @property
    def rank(self) -> int:
        """The number r of dimensions that it has."""
        return self.basis.shape[1]

    @property
    def _measured(self) -> Tensor:
        """M B, [D, r]."""
        return self.basis if self.metric is None else self.metric.to(self.basis) @ self.basis

    def coordinates(self, activations: Tensor) -> Tensor:
        """The coordinates of each vector of activations in the basis, [..., r], with `side`'s axis taken out."""
        return self._within(self._vectors(activations))

    def remove(self, activations: Tensor) -> Tensor:
        """The activations with their component in the subspace set to that of `origin`, which is none without one."""
        return self._each(activations, lambda vectors: vectors - self._component(vectors))

    def reflect(self, activations: Tensor) -> Tensor:
        """The activations with their component in the subspace turned around, about `origin`."""
        return self._each(activations, lambda vectors: vectors - 2 * self._component(vectors))

    def add(self, activations: Tensor, strength: float | Tensor) -> Tensor:
        """The activations moved by strength * scale along the basis. strength: a number where r = 1, or [r]."""
        return self._each(activations, lambda vectors: vectors + self._shift(strength).to(vectors))

    def steer(self, strength: float | Tensor) -> HookFunction:
        """A hook for `run_with_hooks` that adds at every position. States are changed by `steering_edit`."""
        return self.hook, lambda value, hook: self.add(value, strength)

    def ablate(self) -> HookFunction:
        """A hook for `run_with_hooks` that removes at every position. States are changed by `ablation_edits`."""
        return self.hook, lambda value, hook: self.remove(value)

    def steering_edit(
        self,
        position: int,
        strength: float | Tensor,
        shape: Sequence[int],
        *,
        heads: tuple[int, ...] | None = None,
        verb: Verb = "propagate",
    ) -> Edit:
        """The edit that adds to a state after one token, for `run_with_edits(tokens, {hook: [edit]})`.

        shape: of the state behind batch and position, [H, K, V] or, of vector states, [H, C]. With `heads`, H is their number.
        """
        shift = self.add(torch.zeros(tuple(shape), dtype=self.basis.dtype), strength)
        return Edit(position, "add", shift, heads, verb)

    def ablation_edits(
        self, position: int, shape: Sequence[int], *, heads: tuple[int, ...] | None = None, verb: Verb = "propagate"
    ) -> list[Edit]:
        """The edits that remove the component from a state after one token: one a direction of the basis. shape: as above.

        Raises ValueError where no edit does: for a complex basis, one under another metric, and one across heads.
        """
        self._vectors(torch.zeros(tuple(shape), dtype=self.basis.dtype))  # the sizes fit
        axis = shape[-2] if len(shape) == 3 and self.side == "key" else shape[-1]
        operation = REMOVING.get((len(shape), self.side))
        flaws = {
            "a complex basis": self.basis.is_complex(),
            "another metric": self.metric is not None,
            "an origin": self.origin is not None,
            f"{len(self.basis)} entries across the axes of a state {list(shape)}": axis != len(self.basis),
        }
        if operation is None or any(flaws.values()):
            found = " and ".join(flaw for flaw, there in flaws.items() if there) or f"the {self.side} side of {list(shape)}"
            raise ValueError(f"{self.name} has {found}; edits remove real directions of one axis, by an orthogonal projection")
        return [Edit(position, operation, vector, heads, verb) for vector in self.basis.T]

    @classmethod
    def random(cls, like: Self, generator: torch.Generator, spread: Tensor | None = None) -> Self:
        """A random subspace of the same space, rank and scale: the control of what is done along `like`.

        spread: [D, m], of which a direction is spread @ g with standard normal g, such as centred activations [m, D].T / sqrt(m),
            so that it lies where activations vary; None for all directions alike.
        """
        width = len(like.basis) if spread is None else spread.shape[1]
        drawn = torch.randn(width, like.rank, generator=generator, dtype=like.basis.dtype)
        drawn = drawn if spread is None else spread.to(drawn) @ drawn
        changed = {"basis": _orthonormal(drawn, like.metric), "name": "random", "about": {"method": "random"}}
        return cls._of(**like._parts | changed)

    def under(self, metric: Tensor | None) -> Self:
        """The same span with its angles under another metric. A direction's scale stays the length of its step in activations."""
        basis = _orthonormal(self.basis, metric)
        scale = self.scale * float(self.basis[:, 0].norm() / basis[:, 0].norm()) if self.rank == 1 else self.scale
        return self._of(**self._parts | {"basis": basis, "scale": scale, "metric": metric})

    def counted_from(self, origin: Tensor | None) -> Self:
        """The same span with its coordinates counted from another point, [D]."""
        return self._of(**self._parts | {"origin": origin})

    def with_scale(self, scale: float) -> Self:
        """The same span with another length of one unit of strength, in the activation's own units."""
        return self._of(**self._parts | {"scale": scale})

    def at(self, hook: str) -> Self:
        """The same span in another activation of the same kind, such as that of another layer."""
        return self._of(**self._parts | {"hook": hook})

    def angles(self, other: Subspace) -> Tensor:
        """The principal angles with a subspace of the same space, ascending, in radians, [min(r, r')]."""
        self._same_space(other)
        cosines = torch.linalg.svdvals((self.basis.mH @ other._measured.to(self.basis)).real)
        return cosines.clamp(max=1).arccos()

    def agreement(self, other: Subspace) -> float:
        """The cosine of the largest principal angle with a subspace of the same space: 1 where one holds the other."""
        return float(self.angles(other).max().cos())

    def without(self, other: Subspace) -> Self:
        """What is left of it without the span of another subspace of the same space: orthogonal to that, under the metric.

        Raises ValueError where less is left than it has dimensions, as where one of its directions lies in the other, and for a
        complex subspace of a real one.
        """
        self._same_space(other)
        if other.basis.is_complex() and not self.basis.is_complex():
            raise ValueError(f"{other.name} is complex and {self.name} is real, of which something complex would be left")
        wide = self.basis.mT.to(torch.promote_types(self.basis.dtype, torch.float64))
        left = (wide - other.counted_from(None)._component(wide)).mT  # these are directions: no origin counts
        lengths = torch.linalg.svdvals(left)
        if not lengths[-1] > 1e-6:
            raise ValueError(f"{self.name} has a direction within {other.name}, of which nothing is left")
        basis = _orthonormal(left, self.metric).to(self.basis)
        about = dict(self.about) | {"without": [*self.about.get("without", []), other.name]}
        return self._of(**self._parts | {"basis": basis, "about": about})

    def _same_space(self, other: Subspace) -> None:
        same_metric = self.metric is other.metric or (
            self.metric is not None and other.metric is not None and torch.equal(self.metric, other.metric)
        )
        if len(self.basis) != len(other.basis) or self.side != other.side or not same_metric:
            raise ValueError(
                f"{self.name} ({self.hook}, {self.side}) and {other.name} ({other.hook}, {other.side}) lie in different spaces"
            )

    def _shift(self, strength: float | Tensor) -> Tensor:
        amount = torch.as_tensor(strength, dtype=self.basis.real.dtype)
        if amount.numel() != self.rank:
            raise ValueError(f"{self.name}: strength has {amount.numel()} entries; the subspace has {self.rank} dimensions")
        return self.scale * self.basis @ amount.reshape(-1).to(self.basis)

    def _component(self, vectors: Tensor) -> Tensor:
        """Of vectors [..., D], their part in the subspace."""
        return self._within(vectors).to(vectors.dtype) @ self.basis.to(vectors).mT

    def _within(self, vectors: Tensor) -> Tensor:
        """The coordinates of vectors [..., D] in the basis, [..., r], which are real."""
        counted = vectors if self.origin is None else vectors - self.origin.to(vectors)
        product = counted @ self._measured.conj().to(counted)
        return product.real if product.is_complex() else product

    def _vectors(self, activations: Tensor) -> Tensor:
        """Activations as vectors [..., D]."""
        if self.basis.is_complex() and not activations.is_complex():
            raise ValueError(f"{self.name} is complex; the activation of {self.hook} is real")
        return vectors_of(activations, self.side, len(self.basis), self.name)

    def _each(self, activations: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Change every vector, and give the activations their shape again."""
        self._vectors(activations)
        return change_vectors(activations, self.side, len(self.basis), self.name, change)

    def save(self, path: str | Path) -> Path:
        """Write it as a safetensors file, `path` with that ending; the name may hold dots."""
        path = with_ending(path, ".safetensors")
        about = {"hook": self.hook, "name": self.name, "side": self.side, "scale": self.scale, "about": dict(self.about)}
        more = {"metric": self.metric, "origin": self.origin}
        tensors = {"basis": self.basis} | {name: held for name, held in more.items() if held is not None}
        parts = {name: torch.view_as_real(x) if x.is_complex() else x for name, x in tensors.items()}
        write_tensors(path, "subspace", parts, about)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it back. Raises ValueError naming the file if it holds none."""
        try:
            tensors, about = read_tensors(path, "subspace")
            found = {name: torch.view_as_complex(x) if x.ndim == _AXES[name] + 1 else x for name, x in tensors.items()}
            return cls._of(**found, **about)
        except UNREADABLE as error:
            raise ValueError(f"{path} holds no {cls.__name__.lower()}: {error}") from error

    @property
    def _parts(self) -> dict[str, Any]:
        """What it is made of, for one that differs in some of it."""
        return {part.name: getattr(self, part.name) for part in fields(Subspace)} | {"about": dict(self.about)}

    @classmethod
    def _of(cls, basis: Tensor, **rest: Any) -> Self:
        return cls(basis, **rest)


def _orthonormal(columns: Tensor, metric: Tensor | None) -> Tensor:
    """The columns [D, r] made orthonormal under a metric, by Gram and Schmidt: B^H M B = I in its real part."""
    wide = columns.to(torch.promote_types(columns.dtype, torch.float64))
    measured = wide if metric is None else metric.to(wide) @ wide
    factor = torch.linalg.cholesky((wide.mH @ measured).real)
    return torch.linalg.solve_triangular(factor.to(wide), wide.mT, upper=False).mT.to(columns.dtype)
