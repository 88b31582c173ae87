"""What a checkpoint or an argument may not ask of transformers: code of its own, code from a hub, files from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import StatescopeError

IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention", "batched_mm", "grouped_mm")  # transformers fetches others where they lack
REFUSED = {
    "auto_map": "names Python files of its own",
    "use_kernels": "fetches kernels from a hub",
    "kernel_config": "fetches kernels from a hub",
    "quantization_config": "fetches kernels from a hub, for weights that are quantised",
    "fusion_config": "replaces transformers' own modules",
    "distributed_config": "reads shards of a training run, which are pickles",
    "transformers_weights": "names other files of weights",
    "configuration_files": "names other configurations",
}


class UntrustedCheckpointError(StatescopeError, ValueError):
    """A checkpoint, or an argument, that asks for code or files from elsewhere."""


def refuse_foreign_code(settings: Any, where: Path) -> None:
    """Raise UntrustedCheckpointError for settings, at any depth, by which transformers runs code or fetches files from elsewhere.

    Refused are every `auto_map`; every architecture `Auto...`, behind which transformers puts code of the folder's own; and what
    takes the name of an attention or experts implementation for a repository of kernels on a hub.
    """
    if isinstance(settings, list | tuple):
        for item in settings:
            refuse_foreign_code(item, where)
    if not isinstance(settings, Mapping):
        return
    for name, value in settings.items():
        reason = REFUSED.get(name) if value else None
        if "implementation" in name and value is not None and not isinstance(value, Mapping) and value not in IMPLEMENTATIONS:
            reason = f"is none of {', '.join(IMPLEMENTATIONS)}, and is then fetched from a hub"
        if name == "architectures" and isinstance(value, list) and any(str(item).startswith("Auto") for item in value):
            reason = "stands for code of the folder's own; name the architecture itself, such as MambaForCausalLM"
        if reason is not None:
            raise UntrustedCheckpointError(
                f"{where}: {name} = {value!r} lets other code or files in: it {reason}. A checkpoint is read with the library's "
                "own code, unquantised; take this out of config.json or the call"
            )
        refuse_foreign_code(value, where)
