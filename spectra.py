"""Eigenvalues and singular values of transitions, and of whatever acts as an operator."""

from __future__ import annotations

from .analyses.behaviour.measured_horizon import measured_horizon
from .analyses.behaviour.results.measured_horizon import MeasuredHorizon
from .analyses.cells.fixed_points import fixed_points
from .analyses.cells.results.fixed_points import FixedPoints
from .analyses.dynamics.over_checkpoints import CheckpointAnalysis, over_checkpoints
from .analyses.dynamics.results.sharpness import Sharpness
from .analyses.dynamics.sharpness import sharpness
from .analyses.operators.curvature import GaussNewton, Hessian
from .analyses.operators.density import SpectralDensity, spectral_density
from .analyses.operators.estimators import hutch_plus_plus_trace, hutchinson_diagonal, hutchinson_trace
from .analyses.operators.fisher import EmpiricalFisher, Fisher
from .analyses.operators.lanczos import lanczos, top_eigenpairs
from .analyses.spectra.attention_measures import attention_measures
from .analyses.spectra.by_label import spectrum_by_label
from .analyses.spectra.circular_transport import circular_distance, circular_embedding, embedded_distance
from .analyses.spectra.growth import product_growth
from .analyses.spectra.lasting_directions import lasting_directions
from .analyses.spectra.memory_horizon import memory_horizon
from .analyses.spectra.pseudospectrum import pseudospectrum, pseudospectrum_of
from .analyses.spectra.results.attention_measures import AttentionMeasures
from .analyses.spectra.results.by_label import SpectrumByLabel
from .analyses.spectra.results.growth import ProductGrowth
from .analyses.spectra.results.lasting_directions import LastingDirections
from .analyses.spectra.results.memory_horizon import MemoryHorizon
from .analyses.spectra.results.pseudospectrum import Pseudospectrum
from .analyses.spectra.results.stability import Stability
from .analyses.spectra.results.transition_measures import TransitionMeasures
from .analyses.spectra.results.transition_spectrum import TransitionSpectrum
from .analyses.spectra.results.window_spectrum import WindowSpectrum
from .analyses.spectra.stability import stability
from .analyses.spectra.transition_measures import transition_measures
from .analyses.spectra.transition_spectrum import transition_spectrum
from .analyses.spectra.window_spectrum import window_spectrum
from .analyses.time_invariant.balanced_truncation import balanced_truncation
from .analyses.time_invariant.hankel_spectrum import hankel_spectrum
from .analyses.time_invariant.hippo_bases import hippo_bases
from .analyses.time_invariant.past_recovery import past_recovery
from .analyses.time_invariant.results.balanced_truncation import BalancedTruncation
from .analyses.time_invariant.results.hankel_spectrum import HankelSpectrum
from .analyses.time_invariant.results.hippo_bases import HippoBases
from .analyses.time_invariant.results.past_recovery import PastRecovery
from .analyses.time_invariant.results.system_poles import SystemPoles
from .analyses.time_invariant.results.system_response import SystemResponse
from .analyses.time_invariant.system_poles import system_poles
from .analyses.time_invariant.system_response import system_response
from .kernels.operators.linear_system import LinearSystem
from .kernels.operators.transition import Transition
from .kernels.products import lyapunov_exponents

__all__ = [
    "AttentionMeasures",
    "BalancedTruncation",
    "CheckpointAnalysis",
    "EmpiricalFisher",
    "Fisher",
    "FixedPoints",
    "GaussNewton",
    "HankelSpectrum",
    "Hessian",
    "HippoBases",
    "LastingDirections",
    "LinearSystem",
    "MeasuredHorizon",
    "MemoryHorizon",
    "PastRecovery",
    "ProductGrowth",
    "Pseudospectrum",
    "Sharpness",
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
    "lasting_directions",
    "lyapunov_exponents",
    "measured_horizon",
    "memory_horizon",
    "over_checkpoints",
    "past_recovery",
    "product_growth",
    "pseudospectrum",
    "pseudospectrum_of",
    "sharpness",
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
