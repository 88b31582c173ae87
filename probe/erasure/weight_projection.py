"""A subspace taken out of what a layer writes, in its weights: no hook is needed afterwards."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..models.model import Model
from ..subspaces.subspace import Subspace


def projected(weight: Tensor, subspace: Subspace) -> Tensor:
    """(I - U U^T M) W of a matrix W [D, inputs] that writes the space in which a subspace with basis U and metric M lies.

    Multiplied in float64 and given back in the dtype of W. Raises ValueError for a matrix of another size, or a complex basis.
    """
    if subspace.basis.is_complex() or weight.ndim != 2 or len(weight) != len(subspace.basis):
        raise ValueError(
            f"{subspace.name} has a basis {tuple(subspace.basis.shape)} ({subspace.basis.dtype}), which is none of what a real "
            f"matrix {tuple(weight.shape)} writes"
        )
    basis = subspace.basis.double().to(weight.device)
    measured = basis if subspace.metric is None else subspace.metric.double().to(weight.device) @ basis
    wide = weight.detach().double()
    return (wide - basis @ (measured.T @ wide)).to(weight.dtype)


def project_module(linear: nn.Linear, subspace: Subspace) -> None:
    """Take a subspace out of all that a linear map writes, in place: of its matrix, and of its bias where it has one.

    What is left in the subspace is the component of its `origin`, which the bias holds: where there is one and the map has no
    bias, ValueError is raised.
    """
    if linear.bias is None and subspace.origin is not None:
        raise ValueError(f"{subspace.name} has an origin, which a map without a bias cannot hold; take it as counted_from(None)")
    with torch.no_grad():
        linear.weight.copy_(projected(linear.weight, subspace))
        if linear.bias is not None:
            left = projected(linear.bias[:, None], subspace)[:, 0]
            linear.bias.copy_(left if subspace.origin is None else left + _of_origin(subspace).to(left))


def _of_origin(subspace: Subspace) -> Tensor:
    """The component of the origin in the subspace, [D]."""
    assert subspace.origin is not None
    return subspace.origin - subspace.counted_from(None).remove(subspace.origin)


def project_weights(model: Model, subspaces: Sequence[Subspace]) -> Model:
    """A copy of a model whose layers write nothing in some subspaces: W <- (I - P) W, as DAMA edits feed-forward layers
    (Limisiewicz et al. 2024, arXiv:2310.18913).

    subspaces: each of a `hook_mlp_out` or a `hook_attn_out`, the layers that causal tracing has found (`patching_sweep`), along
        the directions that go with the signal (`PartialLeastSquares` of what the layer writes). The model then does what the old
        one does with `subspace.ablate()` as hooks. Subspaces of one hook are taken out one after another: those that are not
        orthogonal belong in one `Subspace`.

    Raises ValueError for a hook that no single matrix writes, and for an origin where that matrix has no bias. A module of
    another library: `project_module`.
    """
    found = copy.deepcopy(model)
    for subspace in subspaces:
        project_module(found.writer(subspace.hook), subspace)
    return found
