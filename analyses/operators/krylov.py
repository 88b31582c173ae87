"""The Krylov space of a self-adjoint operator, grown a block at a time: an orthonormal basis and the operator within it."""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.operators.operator import Operator

EXHAUSTED = 10  # roundings: what is shorter, beside what the operator gave, is no new direction


class Krylov:
    """The span of S, A S, A^2 S, .. of a start S, by block Lanczos (Golub and Underwood 1977); with one column, Lanczos.

        A Q_j = Q_{j-1} B_{j-1}^* + Q_j A_j + Q_{j+1} B_j

    applied: the vectors of the basis that A was applied to. matrix: T = V^* A V [applied, applied] with blocks A_j on the
    diagonal and B_j below it. basis: V [size, applied], orthonormal. coupling: B of the last block, [next, last]: A V leaves
    V T by Q B at its last columns. exhausted: whether the space holds all A can reach from the start, or everything.
    """

    def __init__(self, operator: Operator, start: Tensor, *, reorthogonalise: bool = True, beside: Tensor | None = None) -> None:
        """Begin with the span of the start.

        start: [size, block]. reorthogonalise: make each new block orthogonal to all before it, before it is normalised and again
        after; without it, to the last two only. beside: an orthonormal basis [size, k] of what A maps into itself, to which the
        start and all that follows are made orthogonal too.

        Raises ValueError for a start that is zero or whose columns are not independent.
        """
        self._operator, self._reorthogonalise = operator, reorthogonalise
        width = start.shape[1]
        beside = start[:, :0] if beside is None else beside
        self._first = beside.shape[1]
        # by rows: what the space is beside, the basis, and room for more
        self._vectors = torch.cat([beside.T, start.new_empty(max(32, 4 * width), len(start))])
        for _ in range(2):  # again, for what rounding leaves
            start = start - beside @ (beside.mH @ start)
        first, singular, _ = torch.linalg.svd(start, full_matrices=False)
        if not bool(singular[-1] > EXHAUSTED * torch.finfo(singular.dtype).eps * singular[0]):
            raise ValueError("Lanczos needs a start vector that is not zero, and several that are independent")
        self.applied, self.width, self._scale = 0, width, 0.0
        self._blocks: list[tuple[Tensor, Tensor]] = []  # A_j and B_j
        self._put(first)

    @property
    def basis(self) -> Tensor:
        return self._vectors[self._first : self._first + self.applied].T

    @property
    def coupling(self) -> Tensor:
        return self._blocks[-1][1]

    @property
    def exhausted(self) -> bool:
        return self.width == 0

    @property
    def matrix(self) -> Tensor:
        whole = self._vectors.new_zeros(self.applied + self.width, self.applied)
        place = 0
        for middle, below in self._blocks:
            here, after = slice(place, place + len(middle)), slice(place + len(middle), place + len(middle) + len(below))
            whole[here, here] = middle
            whole[after, here] = below
            if after.start < self.applied:
                whole[here, after] = below.mH
            place = after.start
        return whole[: self.applied]

    def grow(self) -> None:
        """Apply the operator to the last block, which gives the next. Raises FloatingPointError for NaN or infinity."""
        old = self._first + self.applied
        new = old + self.width
        last = self._vectors[old:new].T
        image = self._operator.matmat(last)
        if not bool(image.isfinite().all()):
            step = len(self._blocks)
            raise FloatingPointError(f"{type(self._operator).__name__} gave NaN or infinity in step {step} of Lanczos")
        self._scale = max(self._scale, float(image.norm(dim=0).max()))
        middle = last.mH @ image
        middle = (middle + middle.mH) / 2
        image = image - last @ middle
        if self._blocks:
            below = self.coupling
            image = image - self._vectors[old - below.shape[1] : old].T @ below.mH
        following, coupling = self._next(image, self._vectors[:new].T)
        self.applied += self.width
        self._blocks.append((middle, coupling))
        self._put(following)

    def _next(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """An orthonormal basis Q of what the image adds to the known, as far as it is above rounding, and Q^* image."""
        if self._reorthogonalise:
            image = image - known @ (known.mH @ image)
        rounding = EXHAUSTED * torch.finfo(image.dtype).eps * self._scale * len(image) ** 0.5
        following, coupling = _normalised(image, rounding, known.shape[0] - known.shape[1])
        if self._reorthogonalise:
            following, turned = _normalised(following - known @ (known.mH @ following), 0.0, following.shape[1])
            coupling = turned @ coupling
        return following, coupling

    def _put(self, block: Tensor) -> None:
        self.width = block.shape[1]
        held = self._first + self.applied
        needed = held + self.width
        if needed > len(self._vectors):
            room = self._vectors.new_empty(2 * needed, self._vectors.shape[1])
            room[:held] = self._vectors[:held]
            self._vectors = room
        self._vectors[held:needed] = block.T


def _normalised(block: Tensor, rounding: float, most: int) -> tuple[Tensor, Tensor]:
    """Q and B with block = Q B, by the polar decomposition where the block has full rank: of one column, B is its length."""
    left, singular, right = torch.linalg.svd(block, full_matrices=False)
    rank = min(int((singular > rounding).sum()), most)
    left, coupling = left[:, :rank], singular[:rank, None] * right[:rank]
    return (left @ right, right.mH @ coupling) if rank == len(right) else (left, coupling)
