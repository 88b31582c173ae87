"""Eigenvalues and singular values of transitions, and of whatever acts as an operator."""

from __future__ import annotations

from .analyses.behaviour.measured_horizon import MeasuredHorizon, measured_horizon
from .analyses.cells.fixed_points import FixedPoints, fixed_points
from .analyses.operators.curvature import GaussNewton, Hessian
from .analyses.operators.density import SpectralDensity, spectral_density
from .analyses.operators.estimators import hutch_plus_plus_trace, hutchinson_diagonal, hutchinson_trace
from .analyses.operators.lanczos import lanczos, top_eigenpairs
from .analyses.spectra.attention_measures import AttentionMeasures, attention_measures
from .analyses.spectra.by_label import SpectrumByLabel, spectrum_by_label
from .analyses.spectra.circular_transport import circular_distance, circular_embedding, embedded_distance
from .analyses.spectra.growth import ProductGrowth, product_growth
from .analyses.spectra.memory_horizon import MemoryHorizon, memory_horizon
from .analyses.spectra.pseudospectrum import Pseudospectrum, pseudospectrum, pseudospectrum_of
from .analyses.spectra.stability import Stability, stability
from .analyses.spectra.transition_measures import TransitionMeasures, transition_measures
from .analyses.spectra.transition_spectrum import TransitionSpectrum, transition_spectrum
from .analyses.spectra.window_spectrum import WindowSpectrum, window_spectrum
from .analyses.time_invariant.balanced_truncation import BalancedTruncation, balanced_truncation
from .analyses.time_invariant.hankel_spectrum import HankelSpectrum, hankel_spectrum
from .analyses.time_invariant.hippo_bases import HippoBases, hippo_bases
from .analyses.time_invariant.past_recovery import PastRecovery, past_recovery
from .analyses.time_invariant.system_poles import SystemPoles, system_poles
from .analyses.time_invariant.system_response import SystemResponse, system_response
from .kernels.operators.linear_system import LinearSystem
from .kernels.operators.transition import Transition
from .kernels.products import lyapunov_exponents

__all__ = [
    "AttentionMeasures",
    "BalancedTruncation",
    "FixedPoints",
    "GaussNewton",
    "HankelSpectrum",
    "Hessian",
    "HippoBases",
    "LinearSystem",
    "MeasuredHorizon",
    "MemoryHorizon",
    "PastRecovery",
    "ProductGrowth",
    "Pseudospectrum",
    "SpectralDensity",
    "SpectrumByLabel",
    "Stability",
    "SystemPoles",
    "SystemResponse",
    "Transition",
    "TransitionMeasures",
    "TransitionSpectrum",
    "WindowSpectrum",
    "attention_measures",
    "balanced_truncation",
    "circular_distance",
    "circular_embedding",
    "embedded_distance",
    "fixed_points",
    "hankel_spectrum",
    "hippo_bases",
    "hutch_plus_plus_trace",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "lanczos",
    "lyapunov_exponents",
    "measured_horizon",
    "memory_horizon",
    "past_recovery",
    "product_growth",
    "pseudospectrum",
    "pseudospectrum_of",
    "spectral_density",
    "spectrum_by_label",
    "stability",
    "system_poles",
    "system_response",
    "top_eigenpairs",
    "transition_measures",
    "transition_spectrum",
    "window_spectrum",
]
