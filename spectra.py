"""Eigenvalues and singular values of transitions, and of whatever acts as an operator."""

from __future__ import annotations

from .analyses.operators.curvature import GaussNewton, Hessian
from .analyses.operators.density import SpectralDensity, spectral_density
from .analyses.operators.lanczos import lanczos, top_eigenpairs
from .analyses.spectra.transition_spectrum import TransitionSpectrum, transition_spectrum
from .kernels.operators.transition import Transition
from .kernels.products import lyapunov_exponents

__all__ = [
    "GaussNewton",
    "Hessian",
    "SpectralDensity",
    "Transition",
    "TransitionSpectrum",
    "lanczos",
    "lyapunov_exponents",
    "spectral_density",
    "top_eigenpairs",
    "transition_spectrum",
]
