"""Tensors in double precision, for what differentiates by them more exactly than the module runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...kernels.arguments import check_finite, check_shapes
from .nystrom import NotPositiveError

ROUNDING = 1e-6  # of the largest eigenvalue, or of the kernel's norm: what a kernel computed in float32 is off by


def precise(value: Tensor) -> Tensor:
    """A detached copy in float64 or complex128; whole numbers as they are."""
    inexact = value.is_floating_point() or value.is_complex()
    return value.detach().to(torch.promote_types(value.dtype, torch.float64) if inexact else value.dtype, copy=True)


def precise_numbers(**arguments: tuple[Tensor | None, str]) -> list[Any]:
    """Real numbers in float64, of named arguments (tensor or None, its dimensions as a string such as "N O").

    What has one letter has one size; None stays None. Raises TypeError for what is no tensor and for complex numbers, whose
    imaginary part float64 would drop, ValueError for shapes that do not fit, and NonFiniteError, with the place, for NaN and
    infinity.
    """
    found: dict[str, tuple[Tensor | None, str]] = {}
    for name, (value, dimensions) in arguments.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if value is not None and value.is_complex():
            raise TypeError(f"{name} is complex; this formula is of real numbers")
        found[name] = None if value is None else value.double(), dimensions
    check_shapes({}, **found)
    check_finite(**{name: value for name, (value, _) in found.items()})
    return [value for value, _ in found.values()]


def symmetric_kernel(kernel: Tensor, name: str = "the kernel") -> Tensor:
    """A kernel [N, N] in float64, which is symmetric within rounding: factorisations read one half of it and believe the other.

    name: what errors call it. Raises ValueError where it is not symmetric or of no samples, and what `precise_numbers` raises.
    """
    (kernel,) = precise_numbers(**{name: (kernel, "N N")})
    if not len(kernel):
        raise ValueError(f"{name} is of no samples")
    if float((kernel - kernel.mT).norm()) > ROUNDING * float(kernel.norm()):
        raise ValueError(f"{name} is not symmetric: is it one between two sets of samples?")
    return kernel


def positive_kernel(kernel: Tensor, name: str = "the kernel") -> Tensor:
    """A kernel [N, N] in float64, which is symmetric and has no eigenvalue below zero, both within rounding.

    Raises NotPositiveError where it has one, and what `symmetric_kernel` raises.
    """
    kernel = symmetric_kernel(kernel, name)
    _refuse_negative(torch.linalg.eigvalsh(kernel), name)
    return kernel


def positive_eigenvalues(kernel: Tensor, name: str = "the kernel") -> Tensor:
    """The eigenvalues [N] of a positive kernel, ascending. Raises what `positive_kernel` raises."""
    return _refuse_negative(torch.linalg.eigvalsh(symmetric_kernel(kernel, name)), name)


def positive_eigenpairs(kernel: Tensor, name: str = "the kernel") -> tuple[Tensor, Tensor]:
    """The eigenvalues [N] of a positive kernel, ascending, and their vectors as columns [N, N]. Raises what `positive_kernel`
    raises.
    """
    values, vectors = torch.linalg.eigh(symmetric_kernel(kernel, name))
    return _refuse_negative(values, name), vectors


def _refuse_negative(values: Tensor, name: str) -> Tensor:
    if float(values[0]) < -ROUNDING * float(values.abs().max()):
        raise NotPositiveError(f"{name} has the eigenvalue {float(values[0]):.3g}; compute it in float64")
    return values


def precise_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies in float64 or complex128: of the parameters that require gradients, by name, and of the others and the buffers.

    Whole numbers stay as they are. Raises ValueError where no parameter requires gradients, and NonFiniteError for one that holds
    NaN or infinity.
    """
    check_finite(**dict(module.named_parameters()))
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    copies = {name: precise(value) for name, value in held.items()}
    trained = {name: copies.pop(name) for name, value in module.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("no parameter of the model has requires_grad")
    return trained, copies
