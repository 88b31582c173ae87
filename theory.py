"""Tangent kernels, networks of infinite width, and regression with their kernels."""

from __future__ import annotations

from .analyses.infinite_width.convolutional import ConvolutionalNetwork
from .analyses.infinite_width.dense import DenseNetwork, ResidualNetwork
from .analyses.infinite_width.diagonal_recurrence import diagonal_recurrence_ntk
from .analyses.infinite_width.network import infinite_width_kernels
from .analyses.infinite_width.recurrent import RecurrentNetwork
from .analyses.kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from .analyses.kernel_regression.learning_curve import learning_curve_point
from .analyses.kernel_regression.random_features import random_features_point
from .analyses.kernel_regression.ridge import kernel_ridge
from .analyses.lazy.centred_training import train_centred
from .analyses.lazy.diagonal_network import diagonal_network_limit
from .analyses.ntk.empirical_ntk import TangentKernel, by_layer, empirical_ntk, tangent_kernel
from .analyses.ntk.measures import kernel_target_alignment, label_gradient_alignment
from .analyses.ntk.modes import fourier_modes, irrep_modes, kernel_modes
from .analyses.ntk.motion import tangent_motion
from .analyses.ntk.operator import TangentKernelOperator
from .analyses.ntk.results.modes import KernelModes
from .analyses.ntk.results.spectrum import TangentSpectrum
from .analyses.ntk.samples import Samples
from .analyses.ntk.spectrum import tangent_spectrum
from .analyses.ntk.state import state_tangent
from .analyses.ntk.tile_store import TileStore, store_tangent_kernel

__all__ = [
    "ConvolutionalNetwork",
    "DenseNetwork",
    "KernelModes",
    "RecurrentNetwork",
    "ResidualNetwork",
    "Samples",
    "TangentKernel",
    "TangentKernelOperator",
    "TangentSpectrum",
    "TileStore",
    "by_layer",
    "diagonal_network_limit",
    "diagonal_recurrence_ntk",
    "empirical_ntk",
    "fourier_modes",
    "gradient_descent",
    "infinite_width_kernels",
    "irrep_modes",
    "kernel_modes",
    "kernel_ridge",
    "kernel_target_alignment",
    "label_gradient_alignment",
    "largest_stable_step",
    "learning_curve_point",
    "random_features_point",
    "state_tangent",
    "store_tangent_kernel",
    "tangent_kernel",
    "tangent_motion",
    "tangent_spectrum",
    "train_centred",
]
