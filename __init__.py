"""statescope: an interpretability and theory workbench for models whose memory is a state.

What a script begins with stands here. The parts that come in kinds, and the analyses, stand by subject:

    statescope.mixers  statescope.tasks  statescope.estimators  statescope.directions  statescope.spectra
    statescope.geometry  statescope.lenses  statescope.dictionaries  statescope.theory

and the recurrences in `statescope.kernels`, a file a call: `from statescope.kernels.gate_loop import gate_loop`.

`__init__.pyi` beside this file has the same names with their types, for editors and type checkers.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

SUBJECTS = ("mixers", "tasks", "estimators", "spectra", "geometry", "directions", "lenses", "dictionaries", "theory")
_HOME = {
    "Model": ".probe.models.model",
    "ModelConfig": ".probe.models.config",
    "load": ".probe.loaders.load",
    "hooked": ".probe.loaders.modules.hooked_module",
    "observe": ".probe.loaders.observation.observe",
    "linearize": ".probe.models.linearize",
    "Training": ".probe.runs.training",
    "train": ".probe.runs.training",
    "capture": ".probe.captures.collect",
    "plan_capture": ".probe.captures.collect",
    "ProbeSweep": ".probe.estimators.probe_sweep",
    "Direction": ".probe.subspaces.direction",
    "Tap": ".kernels.recurrence",
    "Edit": ".kernels.recurrence",
    "patch_states": ".probe.interventions.patching",
    "attribute_states": ".probe.interventions.patching",
    "state_view": ".analyses.geometry.state_view",
    "Study": ".probe.runs.study",
    "Run": ".probe.runs.run",
    "Result": ".probe.results.result",
    "replay": ".probe.loaders.bridge",
}

_TOP = ["__version__", *SUBJECTS, *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import statescope` loads no torch.

    Parts are found by their name alone too: `from statescope import DeltaNet, Parity, gate_loop`.
    """
    if name in (*SUBJECTS, "kernels"):  # a folder with a file a call: `from statescope.kernels.gate_loop import gate_loop`
        return import_module(f".{name}", __name__)
    if name == "__all__":  # asked for by `from statescope import *` alone, which means the parts too
        return [*_TOP, *(part for subject in SUBJECTS for part in import_module(f".{subject}", __name__).__all__)]
    for home in _homes(name):
        value = getattr(import_module(home, __name__), name, None)
        if value is not None:
            globals()[name] = value
            return value
    raise AttributeError(f"module 'statescope' has no attribute {name!r}")


def _homes(name: str) -> list[str]:
    """Where a name may be; nothing is imported to look for one that Python itself asks for, such as __wrapped__."""
    if name in _HOME:
        return [_HOME[name]]
    if not name[:1].isalpha():
        return []
    if (Path(__file__).parent / "kernels" / f"{name}.py").exists():  # a file a call
        return [f".kernels.{name}"]
    return [f".{subject}" for subject in SUBJECTS]


def __dir__() -> list[str]:
    return _TOP
