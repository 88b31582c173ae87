"""Which modes of a task the leading eigenvectors of a tangent kernel are: Fourier modes of counting, or irreps of a group."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.tasks.word_problem import multiplication
from ..automata.groups import irreducible_projections
from ..operators.precise import symmetric_kernel
from .results.modes import KernelModes


def kernel_modes(kernel: Tensor, modes: Mapping[str, Tensor], count: int) -> KernelModes:
    """The share of each mode in each of the `count` leading eigenvectors of a kernel.

    kernel: [N, N], symmetric, of samples. modes: by name, columns [N, d] that span a space of functions of the samples, as
    `fourier_modes` and `irrep_modes` give them.

    With Q an orthonormal basis of a mode, eigenvector u_i has the share |Q^T u_i|^2 of it. Of spaces that are orthogonal on the
    samples and span everything, shares add up to 1; where samples are not balanced they need not. Gradient descent on the kernel
    learns what lies in eigenvector i at the rate of its eigenvalue, so `learned` is the order in which modes are learned. Within
    an eigenvalue of several eigenvectors only their sum has a meaning.

    Raises ValueError for a count not from 1 to N, no modes, and for a mode of another number of samples or that is zero on all of
    them; and what `symmetric_kernel` raises.
    """
    kernel = symmetric_kernel(kernel)
    if not 1 <= count <= len(kernel):
        raise ValueError(f"count={count} must lie between 1 and {len(kernel)}")
    if not modes:
        raise ValueError("no modes were given; `fourier_modes` and `irrep_modes` give some")
    values, vectors = torch.linalg.eigh(kernel.cpu())
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    tables = []
    for name, columns in modes.items():
        basis = _basis(name, columns, len(kernel))
        share = (basis.mT @ vectors).square().sum(0)
        parts = {
            "mode": name,
            "dimension": basis.shape[1],
            "index": np.arange(1, count + 1),
            "eigenvalue": values.numpy(),
            "share": share.numpy(),
            "learned": (share.cumsum(0) / basis.shape[1]).numpy(),
        }
        tables.append(pd.DataFrame(parts))
    return KernelModes(pd.concat(tables, ignore_index=True), {"samples": len(kernel)})


def fourier_modes(numbers: Tensor, modulus: int) -> dict[str, Tensor]:
    """The functions of a number modulo m by frequency k: cos and sin of 2 pi k n / m, for k from 0 to m / 2.

    numbers: [N] whole numbers, such as the count of each sample. Each mode is [N, 1 or 2].
    Raises ValueError for other numbers, and a modulus below 1.
    """
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.is_complex() or modulus < 1:
        given = f"{list(numbers.shape)} {numbers.dtype} and {modulus}"
        raise ValueError(f"whole numbers [N] and a modulus from 1 are needed, got {given}")
    angle, found = 2 * math.pi * numbers.double() / modulus, {}
    for k in range(modulus // 2 + 1):
        both = [torch.cos(k * angle)] if 2 * k % modulus == 0 else [torch.cos(k * angle), torch.sin(k * angle)]
        found[f"frequency {k}"] = torch.stack(both, dim=1)
    return found


def irrep_modes(elements: Tensor, group: str) -> dict[str, Tensor]:
    """The functions on a finite group by irreducible representation: the span of its matrix elements, d^2 of them.

    elements: [N], the index of each sample's group element, such as the product of its tokens. group: a name that the word
    problem knows, "S3", "A5", .. ("Z7" has one mode a frequency, see `fourier_modes`). A complex representation stands with its
    conjugate. Raises IndexError for elements that the group has not, and ValueError for what are no whole numbers.
    """
    if elements.ndim != 1 or elements.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"elements are whole numbers [N], got {list(elements.shape)} {elements.dtype}")
    order = len(multiplication(group))
    if len(elements) and not (int(elements.min()) >= 0 and int(elements.max()) < order):
        raise IndexError(f"the elements of {group} are 0 .. {order - 1}, got {int(elements.min())} .. {int(elements.max())}")
    if group.startswith("Z"):
        return fourier_modes(elements, order)
    found: dict[str, Tensor] = {}
    seen: list[Tensor] = []
    for name, projection in irreducible_projections(group).items():
        if any(bool((projection.conj() - other).abs().max() < 1e-6) for other in seen):
            continue
        seen.append(projection)
        turned = float(projection.imag.abs().max()) > 1e-6
        values, vectors = torch.linalg.eigh((1 + turned) * projection.real)
        found[name] = vectors[:, values > 0.5][elements]
    return found


def _basis(name: str, columns: Tensor, samples: int) -> Tensor:
    """An orthonormal basis of what columns span on these samples."""
    if columns.ndim != 2 or len(columns) != samples:
        raise ValueError(f"mode {name!r} is {list(columns.shape)}; it needs columns [{samples}, d], an entry for each sample")
    left, singular, _ = torch.linalg.svd(columns.double().cpu(), full_matrices=False)
    basis: Tensor = left[:, singular > 1e-9 * singular[0]] if float(singular[0]) > 0 else left[:, :0]
    if basis.shape[1] == 0:
        raise ValueError(f"mode {name!r} is zero on all samples")
    return basis
