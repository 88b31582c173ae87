"""Tangent kernels, networks of infinite and of least width, and regression with their kernels."""

from __future__ import annotations

from .analyses.cells.narrow_networks import NarrowNetwork, WideRecurrence, monotone_floor, narrow_network
from .analyses.infinite_width.attention import AttentionNetwork, ManyHeadedAttention
from .analyses.infinite_width.convolutional import ConvolutionalNetwork
from .analyses.infinite_width.deep_kernel_machine import deep_kernel_machine
from .analyses.infinite_width.dense import DenseNetwork, ResidualNetwork
from .analyses.infinite_width.diagonal_recurrence import diagonal_recurrence_ntk
from .analyses.infinite_width.hierarchical import HierarchicalNetwork
from .analyses.infinite_width.network import infinite_width_kernels
from .analyses.infinite_width.recurrent import RecurrentNetwork
from .analyses.infinite_width.sphere import sphere_eigenvalues
from .analyses.kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from .analyses.kernel_regression.learning_curve import learning_curve_point
from .analyses.kernel_regression.random_features import random_features_point
from .analyses.kernel_regression.reconstruction import reconstruct
from .analyses.kernel_regression.ridge import kernel_ridge, trained_ensemble
from .analyses.kernel_regression.self_distillation import self_distillation
from .analyses.kernel_regression.student_process import student_process
from .analyses.lazy.centred_training import train_centred
from .analyses.lazy.diagonal_network import diagonal_network_limit
from .analyses.lazy.linear_network import LinearTrajectory, aligned_mode, balanced_network
from .analyses.lazy.parametrised import AbcNetwork, one_step_optimum
from .analyses.lazy.step_sizes import hessian_sharpness, largest_initial_rate, stability_threshold
from .analyses.lazy.tangent_model import TangentModel
from .analyses.lazy.task_vectors import disentanglement_error
from .analyses.ntk.empirical_ntk import TangentKernel, by_layer, empirical_ntk, tangent_kernel
from .analyses.ntk.measures import (
    choose_by_coding_rate,
    coding_rate,
    decay_exponent,
    kernel_target_alignment,
    label_gradient_alignment,
)
from .analyses.ntk.modes import fourier_modes, irrep_modes, kernel_modes
from .analyses.ntk.motion import tangent_motion
from .analyses.ntk.operator import TangentKernelOperator
from .analyses.ntk.results.modes import KernelModes
from .analyses.ntk.results.spectrum import TangentSpectrum
from .analyses.ntk.samples import Samples
from .analyses.ntk.selection import choose_by_largest_cluster
from .analyses.ntk.spectrum import tangent_spectrum
from .analyses.ntk.state import state_tangent
from .analyses.ntk.tile_store import TileStore, store_tangent_kernel
from .analyses.operators.random_matrix import batch_outlier, covariance_outlier, largest_batch_step
from .probe.models.unit_variance import unit_variance_

__all__ = [
    "AbcNetwork",
    "AttentionNetwork",
    "ConvolutionalNetwork",
    "DenseNetwork",
    "HierarchicalNetwork",
    "KernelModes",
    "LinearTrajectory",
    "ManyHeadedAttention",
    "NarrowNetwork",
    "RecurrentNetwork",
    "ResidualNetwork",
    "Samples",
    "TangentKernel",
    "TangentKernelOperator",
    "TangentModel",
    "TangentSpectrum",
    "TileStore",
    "WideRecurrence",
    "aligned_mode",
    "balanced_network",
    "batch_outlier",
    "by_layer",
    "choose_by_coding_rate",
    "choose_by_largest_cluster",
    "coding_rate",
    "covariance_outlier",
    "decay_exponent",
    "deep_kernel_machine",
    "diagonal_network_limit",
    "diagonal_recurrence_ntk",
    "disentanglement_error",
    "empirical_ntk",
    "fourier_modes",
    "gradient_descent",
    "hessian_sharpness",
    "infinite_width_kernels",
    "irrep_modes",
    "kernel_modes",
    "kernel_ridge",
    "kernel_target_alignment",
    "label_gradient_alignment",
    "largest_batch_step",
    "largest_initial_rate",
    "largest_stable_step",
    "learning_curve_point",
    "monotone_floor",
    "narrow_network",
    "one_step_optimum",
    "random_features_point",
    "reconstruct",
    "self_distillation",
    "sphere_eigenvalues",
    "stability_threshold",
    "state_tangent",
    "store_tangent_kernel",
    "student_process",
    "tangent_kernel",
    "tangent_motion",
    "tangent_spectrum",
    "train_centred",
    "trained_ensemble",
    "unit_variance_",
]
