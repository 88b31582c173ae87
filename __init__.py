"""statescope: an interpretability and theory workbench for models whose memory is a state."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Tap": ".kernels.recurrence",
    "Edit": ".kernels.recurrence",
    "linear_attention": ".kernels.linear_attention",
    "gated_linear_attention": ".kernels.gated_linear_attention",
    "mlstm": ".kernels.mlstm",
    "delta_rule": ".kernels.delta_rule",
    "diagonal_scan": ".kernels.diagonal_scan",
    "dense_scan": ".kernels.dense_scan",
    "cell_scan": ".kernels.cell_scan",
    "cell_jacobians": ".kernels.cell_jacobians",
    "gate_loop": ".kernels.gate_loop",
    "gated_slot_attention": ".kernels.gated_slot_attention",
    "diagonal_plus_low_rank": ".kernels.diagonal_plus_low_rank",
    "effective_attention": ".kernels.effective_attention",
    "lyapunov_exponents": ".kernels.products",
    "Transition": ".kernels.operators.transition",
    "Model": ".probe.models.model",
    "ModelConfig": ".probe.models.config",
    "Attention": ".probe.mixers",
    "load": ".probe.loaders.load",
    "replay": ".probe.loaders.bridge",
    "DeltaNet": ".probe.mixers",
    "GatedDeltaNet": ".probe.mixers",
    "LinearAttention": ".probe.mixers",
    "RetNet": ".probe.mixers",
    "TransNormer": ".probe.mixers",
    "GatedLinearAttention": ".probe.mixers",
    "HGRN2": ".probe.mixers",
    "GatedSlotAttention": ".probe.mixers",
    "GateLoop": ".probe.mixers",
    "RWKV6": ".probe.mixers",
    "RWKV7": ".probe.mixers",
    "KimiDeltaAttention": ".probe.mixers",
    "Mamba": ".probe.mixers",
    "Mamba2": ".probe.mixers",
    "MLSTM": ".probe.mixers",
    "LRU": ".probe.mixers",
    "S5": ".probe.mixers",
    "S4D": ".probe.mixers",
    "LSSL": ".probe.mixers",
    "Elman": ".probe.mixers",
    "GRU": ".probe.mixers",
    "LSTM": ".probe.mixers",
    "SLSTM": ".probe.mixers",
    "Parity": ".probe.tasks",
    "AssociativeRecall": ".probe.tasks",
    "InContextRegression": ".probe.tasks",
    "InductionHeads": ".probe.tasks",
    "Match": ".probe.tasks",
    "ModularArithmetic": ".probe.tasks",
    "Othello": ".probe.tasks",
    "Repeat": ".probe.tasks",
    "SelectiveCopying": ".probe.tasks",
    "Sentiment": ".probe.tasks",
    "SparseAveraging": ".probe.tasks",
    "Table": ".probe.tasks",
    "Text": ".probe.tasks",
    "WordProblem": ".probe.tasks",
    "SourceCode": ".probe.tasks",
    "Batch": ".probe.tasks",
    "Task": ".probe.tasks",
    "generator_for": ".probe.tasks",
    "Training": ".probe.runs.training",
    "train": ".probe.runs.training",
    "Study": ".probe.runs.study",
    "Run": ".probe.runs.run",
    "capture": ".probe.captures.collect",
    "ProbeSweep": ".probe.estimators.probe_sweep",
    "patch_states": ".probe.interventions.patching",
    "attribute_states": ".probe.interventions.patching",
    "linearize": ".probe.models.linearize",
    "Direction": ".probe.subspaces.direction",
    "transition_spectrum": ".analyses.spectra.transition_spectrum",
    "state_trajectory": ".analyses.geometry.state_trajectory",
    "empirical_ntk": ".analyses.ntk.empirical_ntk",
    "study_named": ".analyses.studies.catalogue",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import statescope` loads no torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'statescope' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
