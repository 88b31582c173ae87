"""Eigenvalues and singular values of transitions, and of whatever acts as an operator."""

from __future__ import annotations

from .analyses.operators.curvature import GaussNewton, Hessian
from .analyses.operators.density import SpectralDensity, spectral_density
from .analyses.operators.lanczos import lanczos, top_eigenpairs
from .analyses.spectra.by_label import SpectrumByLabel, spectrum_by_label
from .analyses.spectra.memory_horizon import MemoryHorizon, memory_horizon
from .analyses.spectra.stability import Stability, stability
from .analyses.spectra.transition_measures import TransitionMeasures, transition_measures
from .analyses.spectra.transition_spectrum import TransitionSpectrum, transition_spectrum
from .analyses.spectra.window_spectrum import WindowSpectrum, window_spectrum
from .kernels.operators.transition import Transition
from .kernels.products import lyapunov_exponents

__all__ = [
    "GaussNewton",
    "Hessian",
    "MemoryHorizon",
    "SpectralDensity",
    "SpectrumByLabel",
    "Stability",
    "Transition",
    "TransitionMeasures",
    "TransitionSpectrum",
    "WindowSpectrum",
    "lanczos",
    "lyapunov_exponents",
    "memory_horizon",
    "spectral_density",
    "spectrum_by_label",
    "stability",
    "top_eigenpairs",
    "transition_measures",
    "transition_spectrum",
    "window_spectrum",
]
