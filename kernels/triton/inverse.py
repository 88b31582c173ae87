"""(I + A)^{-1} on a GPU, with the gradient of `chunked.triangular`."""

from __future__ import annotations

from torch import Tensor

from ..chunked.triangular import UnitLowerInverse
from .launch import launch_inverse


class TritonInverse(UnitLowerInverse):
    """`UnitLowerInverse` with its forward substitution in one kernel."""

    generate_vmap_rule = False

    @staticmethod
    def forward(strictly_lower: Tensor) -> Tensor:
        return launch_inverse(strictly_lower)


def unit_lower_inverse(strictly_lower: Tensor) -> Tensor:
    """Invert I + A for strictly lower-triangular A [..., M, M]."""
    inverse: Tensor = TritonInverse.apply(strictly_lower)  # type: ignore[no-untyped-call]
    return inverse
