"""Loading other people's checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from ..errors import StatescopeError
from ..models.hooked import HookedModel
from ..models.saved import FORMAT, load_model
from .bridge import is_bridge, unbridged
from .foreign import ForeignModel, UnknownArchitectureError, known_architectures

IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention", "batched_mm", "grouped_mm")  # transformers fetches others where they lack
REFUSED = ("use_kernels", "kernel_config", "quantization_config")  # of config.json


class UnreadableCheckpointError(StatescopeError, ValueError):
    """A folder that holds no checkpoint of the kind that is read here."""


class UntrustedCheckpointError(StatescopeError, ValueError):
    """A checkpoint, or an argument, that asks for code or files from elsewhere."""


def load(
    source: str | Path | nn.Module,
    *,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
) -> HookedModel:
    """A model with hooks: one of ours that `Model.save` wrote, a checkpoint of transformers or flash-linear-attention in a folder
    with config.json and safetensors, a module of theirs already loaded, or a `TransformerBridge` of transformer-lens.

    dtype, device_map, attn_implementation: for a folder of theirs, as `from_pretrained` takes them; it is given nothing else.
        Of a folder its JSON and safetensors alone are read, nothing is fetched, and no code of the folder's or of a hub's is run.

    Raises UnreadableCheckpointError, UntrustedCheckpointError where that would not hold, UnknownArchitectureError with the
    architectures that are known, or ValueError for an argument with a model of ours or one already loaded.
    """
    asked = {"dtype": dtype, "device_map": device_map, "attn_implementation": attn_implementation}
    how = {name: value for name, value in asked.items() if value is not None}
    if isinstance(source, nn.Module):
        _refuse_arguments(how, "a model that is already loaded")
        return ForeignModel(unbridged(source) if is_bridge(source) else source)
    folder = Path(source).expanduser()
    configuration = check_folder(folder)
    refuse_foreign_code(configuration | how, folder)
    if configuration.get("model_type") == FORMAT:
        _refuse_arguments(how, f"{folder}, a model of statescope")
        return load_model(folder, configuration)
    architecture = (configuration.get("architectures") or ["nothing"])[0]
    import transformers

    # By its own class: flash-linear-attention, once imported, puts classes of its own behind transformers' Auto classes.
    kind = getattr(transformers, architecture, None) if architecture.endswith("ForCausalLM") else None
    kind = _of_flash_linear_attention(architecture) if kind is None else kind
    if kind is None:
        raise UnknownArchitectureError(
            f"{folder}/config.json names {architecture!r}, which is no causal language model of transformers "
            f"{transformers.__version__}, nor of flash-linear-attention if that is installed; {known_architectures()}"
        )
    foreign = kind.from_pretrained(folder, **how, local_files_only=True, use_safetensors=True)
    _restore(foreign, folder)
    return ForeignModel(foreign)


def _refuse_arguments(how: Mapping[str, Any], source: str) -> None:
    if how:
        raise ValueError(f"{', '.join(how)}: not for {source}; call .to(...) on what load returns")


def _restore(foreign: nn.Module, folder: Path) -> None:
    """Give back what is in the files to tensors that were changed after loading.

    transformers 5 runs a family's initialisation on loaded models too, and Mamba-2's divides the output matrices by the root of
    the number of layers if its configuration has rescale_prenorm_residual. The last row of a tensor shows it.
    """
    own = foreign.state_dict()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name in set(own) & set(file.keys()):
                stored = file.get_slice(name)
                if not own[name].is_floating_point() or list(own[name].shape) != stored.get_shape() or not own[name].ndim:
                    continue
                if not torch.equal(own[name][-1:].cpu(), stored[-1:].to(own[name].dtype)):
                    own[name].copy_(file.get_tensor(name))


def _of_flash_linear_attention(architecture: str) -> Any:
    """Its class of this name; None if there is none, or if it is not installed."""
    if not architecture.endswith("ForCausalLM") or find_spec("fla") is None:
        return None
    return getattr(import_module("fla.models"), architecture, None)


def refuse_foreign_code(settings: Mapping[str, Any], where: Path) -> None:
    """Raise UntrustedCheckpointError for settings, at any depth, by which transformers runs code or fetches files from elsewhere.

    It takes the name of an attention or experts implementation in config.json for a repository of kernels on a hub, fetches that
    and runs it; weights quantised to 8 bits do the same.
    """
    for name, value in settings.items():
        asks = name in REFUSED and bool(value)
        asks |= name.endswith("_implementation") and value is not None and value not in IMPLEMENTATIONS
        if asks:
            raise UntrustedCheckpointError(
                f"{where}: {name} = {value!r} lets other code or files in; a checkpoint is read with transformers' own code, "
                f"unquantised, its implementations one of {', '.join(IMPLEMENTATIONS)}. Take it out of config.json or the call"
            )
        if isinstance(value, Mapping):
            refuse_foreign_code(value, where)


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises UnreadableCheckpointError where something is missing, with what was found."""
    if not folder.is_dir():
        raise UnreadableCheckpointError(f"{folder} does not exist or is not a folder; nothing is downloaded here")
    if not (folder / "config.json").is_file():
        raise UnreadableCheckpointError(
            f"{folder} has no config.json; it has {', '.join(sorted(p.name for p in folder.iterdir())[:8])}"
        )
    if (folder / "adapter_config.json").is_file():
        raise UnreadableCheckpointError(
            f"{folder} holds an adapter beside the model (adapter_config.json); merge it into the weights"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)]
        found = (
            f"{', '.join(pickles)}, which are pickles and may run code: convert them to safetensors first" if pickles else "none"
        )
        raise UnreadableCheckpointError(f"{folder} has no *.safetensors; weights found: {found}")
    configuration: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return configuration
